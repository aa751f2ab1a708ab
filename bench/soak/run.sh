#!/usr/bin/env bash
# Runs every test with its full counts and keeps nextest's result beside this file.
# Arguments are handed to `cargo nextest run`.
set -uo pipefail
cd "$(dirname "$0")/../.."

result="bench/soak/$(date -u +%Y-%m-%d).txt"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

export GREENROOM_SOAK=1 GREENROOM_MODEL=deep NO_COLOR=1 CARGO_TERM_COLOR=never
started=$(date -u +%FT%TZ)
cargo nextest run --profile soak --release --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

{
  echo "started      $started"
  echo "ended        $(date -u +%FT%TZ)"
  echo "commit       $(git rev-parse --short HEAD 2>/dev/null)$(git diff --quiet HEAD 2>/dev/null || echo ' and changes')"
  echo "machine      $(uname -srm), $(nproc) cores"
  echo "exit status  $status"
  echo
  sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^ *(PASS|FAIL|TIMEOUT|SLOW|LEAK|SIGABRT|SIGKILL|Summary)' \
    | awk '!/PASS/ || /soak|model|p[1-8]_/'
} >"$result"
echo "written: $result"
exit "$status"
