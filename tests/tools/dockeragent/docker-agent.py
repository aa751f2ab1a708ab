"""Stands where docker-agent would: its command line of `run --exec --json`, its events, a
database of conversations in HOME, and a shell tool whose processes outlive it. What it says is
fixed by the prompt: HOLD waits in a tool, HELP has a helper work, BREAK breaks that off, ASK
asks what nobody can answer, FAIL is refused by the model."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import uuid

parser = argparse.ArgumentParser()
parser.add_argument("word", choices=["run"])
parser.add_argument("--exec", action="store_true", required=True)
parser.add_argument("--json", action="store_true", required=True)
parser.add_argument("--yolo", action="store_true")
parser.add_argument("--session")
parser.add_argument("team")
parser.add_argument("message")
args = parser.parse_args()
if args.message != "-":
    sys.exit("Error: the prompt is read from standard input")

# As its context: a signal ends it, and its stream is closed in order.
signal.signal(signal.SIGINT, lambda *_: (stopped(), sys.exit(0)))
signal.signal(signal.SIGTERM, lambda *_: (stopped(), sys.exit(0)))

database = pathlib.Path(os.environ["HOME"], ".cagent", "session.json")
sessions = json.loads(database.read_text()) if database.exists() else {}
if args.session and args.session not in sessions:
    sys.exit(f'Error: loading session "{args.session}": session not found')
session = args.session or str(uuid.uuid4())
prompt = sys.stdin.read().strip()


def say(kind, **fields):
    print(json.dumps({"type": kind, **fields}), flush=True)


def stopped():
    say("stream_stopped", session_id=session, agent_name="root")


def call(name, arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{name}", "type": "function", "function": function}


def definition(name):
    return {"name": name, "category": "test", "parameters": {"type": "object"}}


say("agent_info", agent_name="root", model="test/model", description=args.team)
say("team_info", available_agents=[{"name": "root"}, {"name": "helper"}], current_agent="root")
say("toolset_info", available_tools=2, loading=False, agent_name="root")
say("user_message", message=prompt, session_id=session, session_position=0)
say("stream_started", session_id=session, agent_name="root")
for piece in ["You said ", f"{len(sessions.get(session, []))} before."]:
    say("agent_choice", content=piece, agent_name="root", session_id=session)
if "FAIL" in prompt:
    sys.exit("Error: all models failed: 400 Bad Request")
if "ASK" in prompt:
    say("elicitation_request", message="Which one?", mode="form")
    signal.pause()
if "HOLD" in prompt:
    what = {"cmd": "sleep 300"}
    say("tool_call", tool_call=call("shell", what), tool_definition=definition("shell"))
    # In a session of its own, as what nobody would end.
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    say("model_fallback", failed_model="a", fallback_model="b", reason="r", attempt=1, max_attempts=2)
    signal.pause()
if "HELP" in prompt:
    task = call("transfer_task", {"agent": "helper"})
    say("tool_call", tool_call=task, tool_definition=definition("transfer_task"), agent_name="root")
    say("agent_switching", switching=True, from_agent="root", to_agent="helper")
    say("stream_started", session_id="child", agent_name="helper")
    for piece in ["I ", "help."]:
        say("agent_choice", content=piece, agent_name="helper", session_id="child")
    if "BREAK" in prompt:
        # As on an error of the model: nothing more is printed, of no stream.
        sys.exit("Error: all models failed: 500 Internal Server Error")
    say("stream_stopped", session_id="child", agent_name="helper")
    say("agent_switching", switching=False, from_agent="helper", to_agent="root")
    say(
        "tool_call_response",
        tool_call=task,
        tool_definition=definition("transfer_task"),
        response="I help.",
        result={"output": "I help.", "meta": {"kept": True}},
        agent_name="root",
    )
    say("agent_choice", content=" It helped.", agent_name="root", session_id=session)
last = {"input_tokens": 10, "output_tokens": 2, "cached_input_tokens": 5, "Cost": 0.5, "Model": "test/model"}
usage = {"input_tokens": 10, "output_tokens": 2, "context_length": 12, "context_limit": 100, "cost": 0.5}
say("token_usage", session_id=session, agent_name="root", usage={**usage, "last_message": last})
sessions.setdefault(session, []).append(prompt)
database.parent.mkdir(parents=True, exist_ok=True)
database.write_text(json.dumps(sessions))
stopped()
