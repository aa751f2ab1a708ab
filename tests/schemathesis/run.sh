#!/usr/bin/env bash
# Lets schemathesis loose on a fresh server: every operation of /openapi.json, all checks, and
# the stateful phase. Ends non-zero on a finding. SEED=N repeats a run; further arguments go to
# schemathesis.
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=$(realpath -m "${GREENROOM_BIN:-target/release/greenroom}")
[[ -x $binary ]] || { echo "error: $binary is missing" >&2; echo "hint: make build" >&2; exit 2; }

# A venv of its own, made anew when the pins change.
pins=tests/schemathesis/requirements.txt
venv=$PWD/target/schemathesis-venv
if ! cmp -s "$pins" "$venv/pins"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$pins"
    cp "$pins" "$venv/pins"
fi

scratch=$(mktemp -d /tmp/gs-XXXXXX)
mkdir "$scratch/agents"
# Short names are what a generator of valid ones comes upon by itself.
for name in {0..9} {A..Z} {a..z}; do
    printf 'name: "%s"\ndriver: command\ncommand: [/bin/cat]\n' "$name" >"$scratch/agents/$name.yaml"
done
env -i PATH="$PATH" HOME="$scratch" "$binary" up --listen 127.0.0.1:0 --data "$scratch/data" \
    --agents "$scratch/agents" --slots 4 --on-exit stop \
    >"$scratch/ready" 2>"$scratch/server.log" &
server=$!
finish() {
    status=$?
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    if ((status)); then tail -n 20 "$scratch/server.log" >&2; fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT

# The ready line comes through a file: wait for it as long as the server lives.
until grep -q '^greenroom is up at ' "$scratch/ready"; do
    kill -0 "$server" 2>/dev/null || { echo "error: the server ended before it was ready" >&2; exit 1; }
    read -rt 0.1 <> <(:) || true
done
url=$(sed -n 's/^greenroom is up at //p' "$scratch/ready")
seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
echo "schemathesis against $url, seed $seed"

# What schemathesis keeps between runs goes with the folder: a seed repeats a run, not a cache.
cd "$scratch"
# Left out: the feed over everything is a stream without end, and the long poll of the link
# waits by design. Both have tests of their own.
env -u PYTHONPATH "$venv/bin/schemathesis" run "$url/openapi.json" \
    --header "Authorization: Bearer $(cat "$scratch/data/token")" \
    --checks all --phases examples,coverage,fuzzing,stateful --max-examples "${EXAMPLES:-100}" \
    --seed "$seed" --workers 2 --request-timeout 40 --continue-on-failure \
    --exclude-path /v1/events --exclude-path /v1/link/sync \
    --suppress-health-check all --report-dir "$scratch/report" "$@"
