"""Started for each prompt. A line that is an object of a known type is an event; any other
line is text."""

import json
import sys
from pathlib import Path

notes = Path("notes.txt")
prompt = sys.stdin.read()
with notes.open("a") as kept:
    kept.write(prompt.strip() + "\n")
known = notes.read_text().splitlines()
print(json.dumps({"type": "plan", "entries": [{"content": "keep the note", "status": "completed"}]}))
print(f"That makes {len(known)}: {', '.join(known)}")
print(json.dumps({"type": "result", "result": {"notes": len(known)}}))
