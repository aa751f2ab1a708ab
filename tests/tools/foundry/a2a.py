"""An agent that speaks a2a: JSON-RPC at `/a2a`, in version 0.3. It says what it was sent, and how."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Agent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        known = self.path == "/readiness"
        self.answer(200 if known else 404, {"status": "healthy" if known else "unknown"})

    def do_POST(self):
        length = self.headers.get("content-length")
        if self.path.split("?")[0] != "/a2a" or length is None:
            return self.answer(404, {"error": self.path})
        asked = json.loads(self.rfile.read(int(length)))
        text = asked["params"]["message"]["parts"][0]["text"]
        said = f"{asked['method']} {self.headers['a2a-version']}: {text}"
        result = {"kind": "message", "role": "agent", "parts": [{"kind": "text", "text": said}]}
        self.answer(200, {"jsonrpc": "2.0", "id": asked["id"], "result": result})

    def log_message(self, *_):
        pass


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Agent).serve_forever()
