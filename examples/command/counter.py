"""Stays up. Each line it reads is a run: `{"run": ID, "prompt": TEXT}` or `{"run": ID, "input": …}`."""

import json
import sys

for count, line in enumerate(sys.stdin, start=1):
    asked = json.loads(line)
    text = asked.get("prompt") or json.dumps(asked.get("input"))
    print(f"You said {text}", flush=True)
    print(json.dumps({"type": "result", "result": {"count": count}}), flush=True)
