#!/usr/bin/env python3
"""A small agent that serves HTTP, with nothing but Python: it says what it is told, in
words, as a stream, or later, and counts in a file how often it was asked."""

import json
import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

later = {}


class Agent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, said, **headers):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def do_GET(self):
        if self.path == "/readiness":
            return self.answer(200, {"status": "healthy"})
        if (work := later.get(self.path.split("?")[0].removeprefix("/invocations/"))) is not None:
            return self.answer(200, work)
        self.answer(404, {"error": {"code": "not_found", "message": f"nothing is at {self.path}"}})

    def do_POST(self):
        body = self.body()
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[0] != "invocations":
            return self.answer(404, {"error": {"code": "not_found", "message": self.path}})
        if parts[2:] == ["cancel"]:
            work = later.get(parts[1])
            if work is None:
                return self.answer(404, {"error": {"code": "not_found", "message": parts[1]}})
            work["status"] = "cancelled"
            return self.answer(200, {"status": "cancelled"})
        try:
            asked = json.loads(body)
        except ValueError:
            asked = body.decode(errors="replace")
        say = asked.get("say", "") if isinstance(asked, dict) else str(asked)
        how = asked.get("how") if isinstance(asked, dict) else None
        with open("asked.txt", "a") as count:
            count.write(say + "\n")
        if how == "fail":
            return self.answer(500, {"error": {"code": "broken", "message": say}})
        if how == "later":
            id = self.headers.get("x-agent-invocation-id") or str(uuid.uuid4())
            later[id] = {"invocation_id": id, "status": "running"}
            threading.Thread(target=self.finish, args=(id, say), daemon=True).start()
            return self.answer(202, later[id], x_agent_invocation_id=id)
        if how == "stream":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for word in say.split(" "):
                self.wfile.write(b"data: " + json.dumps({"delta": word + " "}).encode() + b"\n\n")
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True
            return
        self.answer(200, {"output": f"you said {say}"})

    def finish(self, id, say):
        """Answers when there is a file `go`, unless it is cancelled first."""
        while later[id]["status"] == "running":
            if os.path.exists("go"):
                later[id].update(status="completed", output=f"later: {say}")
            threading.Event().wait(0.02)

    def log_message(self, form, *args):
        print(form % args, flush=True)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Agent).serve_forever()
