#!/usr/bin/env python3
"""Speaks the Agent Client Protocol and asks before it writes."""

import json
import sys

waiting = {}
number = 0


def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def update(session, **fields):
    send({"method": "session/update", "params": {"sessionId": session, "update": fields}})


def say(session, text):
    update(session, sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})


def prompt(request):
    global number
    session = request["params"]["sessionId"]
    asked = "".join(part.get("text", "") for part in request["params"]["prompt"])
    number += 1
    call = f"t{number}"
    for word in f"You asked for: {asked}. I need to write a file first. ".split(" "):
        say(session, word + " ")
    tool = {"toolCallId": call, "title": "Write notes.md", "kind": "edit", "status": "pending",
            "rawInput": {"file_path": "notes.md", "content": asked}}
    update(session, sessionUpdate="tool_call", **tool)
    ask = f"ask-{number}"
    waiting[ask] = (request["id"], session, call)
    send({"id": ask, "method": "session/request_permission", "params": {
        "sessionId": session, "toolCall": tool, "options": [
            {"optionId": "once", "name": "Allow once", "kind": "allow_once"},
            {"optionId": "always", "name": "Always allow", "kind": "allow_always"},
            {"optionId": "no", "name": "Reject", "kind": "reject_once"},
        ]}})


def answered(message):
    request, session, call = waiting.pop(message["id"])
    outcome = message.get("result", {}).get("outcome", {})
    if outcome.get("outcome") == "cancelled":
        return send({"id": request, "result": {"stopReason": "cancelled"}})
    allowed = outcome.get("optionId") in ("once", "always")
    update(session, sessionUpdate="tool_call_update", toolCallId=call,
           status="completed" if allowed else "failed",
           content=[{"type": "content", "content": {"type": "text", "text": "written" if allowed else "refused"}}])
    say(session, "It is written.\n" if allowed else "Then I leave it.\n")
    send({"id": request, "result": {"stopReason": "end_turn"}})


for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        send({"id": message["id"], "result": {"protocolVersion": 1, "agentCapabilities": {}}})
    elif method == "session/new":
        send({"id": message["id"], "result": {"sessionId": "s1"}})
    elif method == "session/prompt":
        prompt(message)
    elif method == "session/cancel":
        for ask, (request, session, _) in list(waiting.items()):
            del waiting[ask]
            send({"id": request, "result": {"stopReason": "cancelled"}})
    elif method is None and message.get("id") in waiting:
        answered(message)
    elif "id" in message and method:
        send({"id": message["id"], "error": {"code": -32601, "message": "not known"}})
