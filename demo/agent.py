#!/usr/bin/env python3
"""A small agent with a bad habit.

It surveys a street house by house and writes down what it sees, so that it can go on
where it was. On the way it starts watchers: daemons that double-fork, leave its session
and ignore every polite signal. Killing the agent, or its process group, leaves them all.
"""

import os
import signal
import sys
import time
from pathlib import Path

NOTES = Path("notes.md")
HOUSES = 40
THINGS = ["a red door", "two chimneys", "a cat in the window", "a bicycle", "roses", "a ladder"]


def say(text):
    print(text, flush=True)


def start_watcher(house):
    """A daemon as they are in the wild; nothing here is a child of the agent for long."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for polite in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(polite, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    while True:
        with open("watchers.log", "a") as log:
            log.write(f"{time.strftime('%X')} house {house} is still there\n")
        time.sleep(1)


def survey():
    done = NOTES.read_text().splitlines() if NOTES.exists() else []
    say(f"Surveying {HOUSES} houses, beginning with house {len(done) + 1}.")
    for house in range(len(done) + 1, HOUSES + 1):
        time.sleep(0.3)
        line = f"- house {house}: {THINGS[house % len(THINGS)]}"
        with NOTES.open("a") as notes:
            notes.write(line + "\n")
        say(line)
        if house % 2 == 0:
            start_watcher(house)
            say(f"  (a watcher stays at house {house})")
    say("That was the last house.")


def summarise():
    if not NOTES.exists():
        say("There is nothing to summarise yet.")
        return
    lines = NOTES.read_text().splitlines()
    say(f"I have notes on {len(lines)} of {HOUSES} houses. The last one reads:")
    say(f"  {lines[-1]}")
    for thing in THINGS:
        time.sleep(0.2)
        count = sum(thing in line for line in lines)
        say(f"{count} × {thing}")
    Path("summary.md").write_text(f"{len(lines)} of {HOUSES} houses surveyed.\n")
    say("Written to summary.md.")


if "summar" in sys.stdin.read().lower():
    summarise()
else:
    survey()
