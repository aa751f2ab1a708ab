#!/usr/bin/env python3
"""Works through a task the way a coding agent does, as JSON lines. With "stay" in the prompt it goes on with its tests."""

import json
import sys
import time

number = 0


def say(**event):
    print(json.dumps(event), flush=True)


def tool(name, output, error=False, **arguments):
    global number
    number += 1
    say(type="tool_call", id=f"t{number}", tool=name, input=arguments)
    time.sleep(0.04)
    say(type="tool_result", id=f"t{number}", output=output, is_error=error)


def plan(done):
    steps = [
        "Find where idle connections are reaped",
        "Reproduce the leak with a test",
        "Close connections that the peer has left",
        "Run the whole suite",
    ]
    stands = lambda i: "completed" if i < done else "in_progress" if i == done else "pending"
    say(type="plan", entries=[{"content": step, "status": stands(i)} for i, step in enumerate(steps)])


OLD = """def reap(self, now: float) -> int:
    closed = 0
    for conn in self.idle:
        if now - conn.used > self.ttl:
            conn.close()
            closed += 1
    return closed
"""
NEW = """def reap(self, now: float) -> int:
    kept, closed = [], 0
    for conn in self.idle:
        if now - conn.used > self.ttl or conn.peer_closed():
            conn.close()
            closed += 1
        else:
            kept.append(conn)
    self.idle = kept
    return closed
"""
GREP = """src/pool/pool.py:88:    def reap(self, now: float) -> int:
src/pool/pool.py:131:        self.pool.reap(time.monotonic())
tests/test_pool.py:42:    assert pool.reap(now=100.0) == 3
"""
FAILS = (
    "\x1b[1m============================= test session starts ==============================\x1b[0m\n"
    "collected 41 items\n\n"
    "tests/test_pool.py \x1b[32m.........\x1b[0m\x1b[31mF\x1b[0m\x1b[32m..\x1b[0m                                     [ 29%]\n"
    "tests/test_server.py \x1b[32m.............................\x1b[0m               [100%]\n\n"
    "\x1b[31m\x1b[1m________________________ test_reap_drops_what_it_closed ________________________\x1b[0m\n"
    "\x1b[1m\x1b[31mE       AssertionError: assert 3 == 0\x1b[0m\n"
    "\x1b[31m\x1b[1mtests/test_pool.py\x1b[0m:57: AssertionError\n"
    "\x1b[31mFAILED\x1b[0m tests/test_pool.py::\x1b[1mtest_reap_drops_what_it_closed\x1b[0m\n"
    "\x1b[31m========================= \x1b[1m1 failed\x1b[0m, \x1b[32m40 passed\x1b[0m\x1b[31m in 2.31s ==========================\x1b[0m\n"
)
PASSES = (
    "tests/test_pool.py \x1b[32m............\x1b[0m                                     [ 29%]\n"
    "tests/test_server.py \x1b[32m.............................\x1b[0m               [100%]\n"
    "\x1b[32m============================== \x1b[1m41 passed\x1b[0m\x1b[32m in 2.18s ==============================\x1b[0m\n"
)

prompt = sys.stdin.read().strip()
plan(0)
say(type="thought", text="The pool keeps growing under load although the server closes its side. "
    "Either reap() is not called, or it closes connections without dropping them.")
say(type="message", role="agent", text="I'll look for where idle connections are reaped, and reproduce the leak before I change anything.\n")
tool("Grep", GREP, pattern=r"reap\(", path=".")
tool("Read", OLD, file_path="src/pool/pool.py", offset=88, limit=8)
say(type="usage", input_tokens=18_400, output_tokens=420, cost_usd=0.061, model="a-large-model")
plan(1)
tool("Write", "File created", file_path="tests/test_reap.py",
     content="def test_reap_drops_what_it_closed(pool):\n    pool.fill(3)\n    pool.reap(now=1e9)\n    assert len(pool.idle) == 0\n")
tool("Bash", FAILS, True, command="pytest -q tests", description="Run the tests")
say(type="message", role="agent", text="Reproduced: `reap()` closes the connections but **leaves them in the list**, so the pool hands out dead ones.\n")
plan(2)
tool("Edit", "src/pool/pool.py was changed", file_path="src/pool/pool.py", old_string=OLD, new_string=NEW)
say(type="log", stream="stderr", text="\x1b[33mwarning\x1b[0m: pool.py: line 96 is not covered\n")
say(type="usage", input_tokens=31_250, output_tokens=1_130, cost_usd=0.104, model="a-large-model")
plan(3)
if "stay" in prompt:
    say(type="tool_call", id="last", tool="Bash", input={"command": "pytest -q tests --count 500 -x"})
    while True:
        time.sleep(30)
tool("Bash", PASSES, command="pytest -q tests")
plan(4)
say(type="message", role="agent", text="""The leak is closed. What I changed:

1. `Pool.reap` drops the connections it closes, and also those whose **peer has hung up**.
2. A test that fails without the change: `test_reap_drops_what_it_closed`.

| | before | after |
|---|---|---|
| idle connections after an hour | 4 812 | 16 |
| tests | 40 of 41 | 41 of 41 |

```python
if now - conn.used > self.ttl or conn.peer_closed():
    conn.close()
```

Worth a look later: `Server.drain` reads `pool.idle` without the lock.
""")
