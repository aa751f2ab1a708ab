"""A small MCP server for tests: on standard streams, or over HTTP (`--http`), where it
says its port on standard output. Its tools: echo, env, fail, wait."""

import json
import os
import sys
import time

TOOLS = [
    {"name": name, "description": f"the tool {name}", "inputSchema": {"type": "object"}}
    for name in ("echo", "env", "fail", "wait")
]


def call(name, arguments):
    if name == "echo":
        return {"content": [{"type": "text", "text": "echo: " + arguments.get("text", "")}]}
    if name == "env":
        text = json.dumps({key: os.environ.get(key) for key in arguments["names"]})
        return {"content": [{"type": "text", "text": text}]}
    if name == "wait":
        open(arguments["mark"], "w").close()
        time.sleep(300)
    return {"content": [{"type": "text", "text": "it went wrong"}], "isError": True}


def answer(message, headers=None):
    if "id" not in message:
        return None
    method, params = message["method"], message.get("params") or {}
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    if method == "initialize":
        reply["result"] = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "lab", "version": "1"},
        }
    elif method == "tools/list":
        reply["result"] = {"tools": TOOLS}
    elif method == "tools/call" and headers is not None and params["name"] == "env":
        text = json.dumps({key: headers.get(key) for key in params["arguments"]["names"]})
        reply["result"] = {"content": [{"type": "text", "text": text}]}
    elif method == "tools/call":
        reply["result"] = call(params["name"], params.get("arguments") or {})
    else:
        reply["error"] = {"code": -32601, "message": "no such method"}
    return reply


def stdio():
    for line in sys.stdin:
        reply = answer(json.loads(line))
        if reply is not None:
            print(json.dumps(reply), flush=True)


def http():
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            reply = answer(json.loads(body), self.headers)
            data = b"" if reply is None else json.dumps(reply).encode()
            self.send_response(202 if reply is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            self.send_error(405)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    http() if "--http" in sys.argv else stdio()
