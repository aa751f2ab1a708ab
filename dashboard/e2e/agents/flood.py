#!/usr/bin/env python3
"""Writes as many events as the prompt says, each one of its own."""

import json
import sys

for i in range(1, int(sys.stdin.read()) + 1):
    print(json.dumps({"type": "tool_call" if i % 2 else "tool_result", "id": f"c{(i + 1) // 2}", "tool": "count", "input": {"n": i}, "output": f"that was {i}"}))
