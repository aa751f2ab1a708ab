#!/usr/bin/env python3
"""Prints numbered lines. The prompt says how many, and how many a second."""

import sys
import time

words = sys.stdin.read().split()
count, rate = int(words[0]), float(words[1]) if len(words) > 1 else 0
for i in range(1, count + 1):
    print(f"line {i}", flush=rate > 0)
    if rate > 0:
        time.sleep(1 / rate)
