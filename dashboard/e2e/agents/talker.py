#!/usr/bin/env python3
"""Says and does a little of everything, as JSON lines."""

import json
import os
import sys
import time
from pathlib import Path


def say(**event):
    print(json.dumps(event), flush=True)


prompt = sys.stdin.read().strip()
steps = int(os.environ.get("STEPS", "4"))
names = ["Look around", "Change the notes", "Say what was done"]


def plan(done):
    say(type="plan", entries=[
        {"content": name, "status": "completed" if i < done else "in_progress" if i == done else "pending"}
        for i, name in enumerate(names)
    ])


plan(0)
say(type="thought", text=f"The person wants: {prompt}\nI should look around first.")
say(type="message", role="agent", text=f"""## On it

You asked: **{prompt}**. I will

1. look around,
2. change the notes,
3. say what I did.

```python
def greet(name: str) -> str:
    # a friendly line
    return f"hello {{name}}"
```

| step | what |
|------|------|
| 1 | look |
| 2 | change |

""")
for i in range(steps):
    say(type="tool_call", id=f"c{i}", tool="shell", input={"command": f"make step-{i}"})
    time.sleep(0.15)
    failed = i == 2
    output = "\x1b[1mmake\x1b[0m step\n\x1b[32m   ok\x1b[0m compiled 12 files\n"
    if failed:
        output += "\x1b[1;31merror\x1b[0m: \x1b[4mnotes.md\x1b[0m has no heading\n"
    say(type="tool_result", id=f"c{i}", output=output, is_error=failed)
    say(type="log", stream="stderr", text=f"\x1b[33mwarning\x1b[0m: step {i} took a while\n")
    say(type="usage", input_tokens=1200, output_tokens=80, cost_usd=0.0031)
plan(1)
notes = Path("notes.md")
before = notes.read_text() if notes.exists() else ""
notes.write_text(before + f"- {prompt}\n")
say(type="tool_call", id="edit", tool="Edit", input={
    "file_path": "notes.md", "old_string": "# Notes\n- nothing yet\n", "new_string": f"# Notes\n- {prompt}\n- nothing else\n",
})
say(type="tool_result", id="edit", output="notes.md was changed", is_error=False)
plan(3)
say(type="message", role="agent", text="Done: `notes.md` has a new line.\n")
