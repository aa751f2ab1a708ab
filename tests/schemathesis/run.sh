#!/usr/bin/env bash
# Lets schemathesis loose on fresh servers; what it does there is in run.py. Ends non-zero on
# a finding. EXAMPLES=N says how many for each operation, SEED=N or SEED=random which; further
# arguments go to schemathesis.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A venv of its own, made anew when the pins change.
pins=tests/schemathesis/requirements.txt
venv=$PWD/target/schemathesis-venv
if ! cmp -s "$pins" "$venv/pins"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$pins"
    cp "$pins" "$venv/pins"
fi
exec env -u PYTHONPATH "$venv/bin/python" tests/schemathesis/run.py "$@"
