"""Tests the live API against its own document: every operation, all checks, and sequences of
calls, in three passes. Passes run beside each other, each in a process with one thread: two
threads of schemathesis share one core, and CPython 3.11 does not parse in two at once.

1. Everything, as an operator's admin, on a server with a runner of its own.
2. What takes runners and tokens away, on a server that needs neither.
3. The link, as a runner that has joined and hosts a session.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("GREENROOM_BIN", ROOT / "target/release/greenroom")).resolve()
EXAMPLES = os.environ.get("EXAMPLES", "100")
# The same calls for the same document, so that what passes here passes elsewhere; SEED=random
# looks further.
SEED = os.environ.get("SEED") or "1"
if SEED == "random":
    SEED = str(secrets.randbelow(2**32))

# What ends the ground it stands on: taken out of the first pass, and all of the second.
TAKES_AWAY = [
    "POST /v1/runners/{id}/drain",
    "DELETE /v1/runners/{id}",
    "DELETE /v1/tokens/{id}",
]


class Server:
    """A server on a data folder of its own, and its API."""

    def __init__(self, folder, command, *options):
        folder.mkdir()
        self.data = folder / "data"
        self.log = folder / "log"
        ready = folder / "ready"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        arguments = [BINARY, command, "--listen", "127.0.0.1:0", "--data", self.data, *options]
        with ready.open("w") as out, self.log.open("w") as err:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=err, env=environment)
        said = "greenroom is up at "
        while not (line := ready.read_text()).startswith(said) or "\n" not in line:
            if self.process.poll() is not None:
                sys.exit(f"error: the server ended before it was ready\n{self.log.read_text()}")
            time.sleep(0.02)
        self.url = line.split("\n")[0].removeprefix(said)
        self.token = (self.data / "token").read_text().strip()

    def call(self, method, path, body=None, token=None):
        headers = {"Authorization": f"Bearer {token or self.token}"}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def wait_for(self, session, kind):
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
        path = f"{self.url}/v1/sessions/{session}/events"
        with requests.get(path, headers=headers, stream=True, timeout=60) as answer:
            lines = answer.iter_lines(decode_unicode=True)
            assert any(line == f"event: {kind}" for line in lines), session

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def agents(folder):
    """Short names are what a generator of valid ones comes upon by itself."""
    folder.mkdir()
    names = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for name in names:
        text = f'name: "{name}"\ndriver: command\ncommand: [/bin/cat]\n'
        (folder / f"{name}.yaml").write_text(text)
    return folder


def sessions(server):
    """Sessions that have said something and have files, and those that have done nothing."""
    found = {"sessions": [], "runs": []}
    for name in ["one", "two", "three", "four"]:
        session = server.call("POST", "/v1/sessions", {"id": name, "agent": "a", "prompt": "hi"})
        found["sessions"].append(name)
        found["runs"].append(session["run_id"])
        server.wait_for(name, "session.finished")
        server.call("POST", f"/v1/sessions/{name}/files/mkdir", {"path": "d"})
    for name in ["five", "six"]:
        server.call("POST", "/v1/sessions", {"id": name, "agent": "b"})
        found["sessions"].append(name)
    return found


def joined(server, name):
    """A runner that has joined, and its credential."""
    token = server.call("POST", "/v1/tokens", {"role": "runner"})
    runner = str(uuid.uuid4())
    info = {
        "name": name, "host": "here", "platform": "linux", "version": "0", "isolation": "none",
        "probe": {"cgroup_kill": False, "memory": "", "pids": "", "outlives_runner": True},
    }
    body = {"runner_id": runner, "info": info}
    reply = server.call("POST", "/v1/link/enroll", body, token["secret"])
    return runner, token["id"], reply


def host(server):
    """A runner with a session that it is to start, and what its calls can name."""
    runner, _, reply = joined(server, "host")
    store, credential = reply["store_id"], reply["credential"]
    hello = {"store_id": store, "instance": 1, "since_rev": 0, "wait_ms": 0, "full": True}
    server.call("POST", "/v1/link/sync", hello, credential)
    session = server.call("POST", "/v1/sessions", {"agent": "a", "prompt": "hi"})
    assert session["runner_id"] == runner, session
    values = {"store": [store], "uids": [session["uid"]], "runs": [session["run_id"]]}
    return credential, values


def config(folder, token, dictionaries, parameters, operations=()):
    """The settings of a pass. A token stands here, in a folder of ours, and never among the
    arguments, which everybody on the machine can read."""
    bound = {name: f'{{ dictionary = "{of}", probability = {chance} }}'
             for name, (of, chance) in parameters.items()}
    lines = ["[headers]", f'Authorization = "Bearer {token}"', "[parameters]"]
    lines += [f'"{name}" = {value}' for name, value in bound.items()]
    for name, values in dictionaries.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    for lines_of in operations:
        lines += ["[[operations]]", *lines_of]
    path = folder / "schemathesis.toml"
    path.touch(0o600)
    path.write_text("\n".join(lines) + "\n")
    return path


def fuzz(server, settings, *choice):
    """One pass. Says whether it found nothing."""
    command = [
        Path(sys.executable).parent / "schemathesis", "--config-file", settings,
        "run", f"{server.url}/openapi.json",
        "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful",
        "--max-examples", EXAMPLES, "--seed", SEED, "--workers", "1", "--request-timeout", "40",
        "--continue-on-failure", "--suppress-health-check", "all",
        "--report-dir", settings.parent / "report", *choice, *sys.argv[1:],
    ]
    # What schemathesis keeps between runs goes with the folder: a seed repeats a run, not a cache.
    done = subprocess.run(command, cwd=settings.parent, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    log = "" if done.returncode == 0 else "".join(server.log.read_text().splitlines(True)[-20:])
    print(done.stdout + log, flush=True)
    return done.returncode == 0


def everything(folder, files):
    server = Server(folder, "up", "--agents", files, "--slots", "4", "--on-exit", "stop")
    try:
        found = sessions(server)
        found["runners"] = [server.call("GET", "/v1/runners")["items"][0]["id"]]
        found["agents"] = ["a", "b", "c"]
        found["paths"] = ["d", "e", "d/f"]
        parameters = {"path.id": ("sessions", 0.5), "path.path": ("paths", 0.5)}
        ids = {"/v1/runs": "runs", "/v1/runners": "runners"}
        operations = [
            [f'include-path-regex = "^{path}/"',
             f'parameters = {{ "path.id" = {{ dictionary = "{of}", probability = 0.5 }} }}']
            for path, of in ids.items()
        ]
        # Another agent that is not there is refused as not found, like a session.
        operations.append(['include-path = "/v1/sessions/{id}"', 'include-method = "PATCH"',
                           'parameters = { "path.id" = { dictionary = "sessions", probability = 0.5 }, '
                           '"body.agent" = { dictionary = "agents", probability = 1.0 } }'])
        # A stream without end: its first frame is enough.
        operations.append(['include-path = "/v1/events"', "max-stream-events = 1",
                           "request-timeout = 2"])
        settings = config(folder, server.token, found, parameters, operations)
        leave = [word for name in TAKES_AWAY for word in ("--exclude-name", name)]
        return fuzz(server, settings, *leave)
    finally:
        server.end()


def taking_away(folder):
    # Without tokens, so that a revoked one does not end the pass.
    server = Server(folder, "serve", "--no-auth")
    try:
        all_joined = [joined(server, f"runner-{n}") for n in range(50)]
        found = {"runners": [runner for runner, _, _ in all_joined]}
        tokens = [server.call("POST", "/v1/tokens", {"role": "viewer"}) for _ in range(50)]
        found["tokens"] = [token["id"] for token in tokens]
        operations = [
            [f'include-path-regex = "^/v1/{of}/"',
             f'parameters = {{ "path.id" = {{ dictionary = "{of}", probability = 0.5 }} }}']
            for of in ("runners", "tokens")
        ]
        settings = config(folder, server.token, found, {}, operations)
        take = [word for name in TAKES_AWAY for word in ("--include-name", name)]
        return fuzz(server, settings, *take, "--exclude-checks", "ignored_auth")
    finally:
        server.end()


def linked(folder, files):
    server = Server(folder, "serve", "--agents", files)
    try:
        credential, found = host(server)
        found |= {"epochs": [1, 2], "moments": [0, 5], "instances": [1]}
        parameters = {
            "path.uid": ("uids", 0.5), "path.run": ("runs", 0.5), "path.epoch": ("epochs", 0.5),
            "body.store_id": ("store", 0.8), "body.wait_ms": ("moments", 1.0),
            "body.instance": ("instances", 1.0), "body.computes[*].uid": ("uids", 0.5),
            "body.computes[*].epoch": ("epochs", 0.5),
        }
        settings = config(folder, credential, found, parameters)
        return fuzz(server, settings, "--include-path-regex", "^/v1/link/")
    finally:
        server.end()


def main():
    if not BINARY.exists():
        sys.exit(f"error: {BINARY} is missing\nhint: make build")
    scratch = Path(tempfile.mkdtemp(prefix="gs-", dir="/tmp"))
    print(f"seed {SEED}, {EXAMPLES} examples for each operation", flush=True)
    try:
        files = agents(scratch / "agents")
        with ThreadPoolExecutor(2) as pool:
            passes = [
                pool.submit(everything, scratch / "everything", files),
                pool.submit(taking_away, scratch / "taking-away"),
                pool.submit(linked, scratch / "link", files),
            ]
        clean = [one.result() for one in passes]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(0 if all(clean) else f"error: schemathesis has findings; SEED={SEED} repeats them")


if __name__ == "__main__":
    main()
