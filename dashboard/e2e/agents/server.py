#!/usr/bin/env python3
"""Serves HTTP: answers what is sent to it, in upper case, after a while."""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200 if self.path == "/readiness" else 404, "ready")

    def do_POST(self):
        said = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path == "/broken":
            return self.answer(500, "no")
        time.sleep(1)
        self.answer(200, said.upper())


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
