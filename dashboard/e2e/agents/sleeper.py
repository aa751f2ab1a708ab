#!/usr/bin/env python3
"""Works until it is stopped, and leaves processes behind that ignore polite signals."""

import os
import signal
import sys
import time

sys.stdin.read()
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        while True:
            time.sleep(60)
print("Working.", flush=True)
count = 0
while True:
    time.sleep(0.5)
    count += 1
    print(f"tick {count}", flush=True)
