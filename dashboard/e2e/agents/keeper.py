#!/usr/bin/env python3
"""Stays up between runs and answers each with a line."""

import json
import sys
import time

for line in sys.stdin:
    asked = json.loads(line)
    said = asked.get("prompt") or json.dumps(asked.get("input"))
    if said.startswith("slow"):
        time.sleep(3)
    print(json.dumps({"type": "message", "role": "agent", "text": f"You said: {said}\n"}), flush=True)
    print(json.dumps({"type": "result", "run": asked["run"]}), flush=True)
