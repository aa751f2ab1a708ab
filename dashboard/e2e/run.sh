#!/usr/bin/env bash
# End-to-end tests against a real coordinator, with a real browser.
#
#   GREENROOM_BIN=../target/release/greenroom e2e/run.sh [FILE...]
#
# Everything it starts, it ends. Screenshots are left in e2e/artefacts.
set -euo pipefail
cd "$(dirname "$0")/.."

binary="${GREENROOM_BIN:-../target/release/greenroom}"
if [[ ! -x $binary ]]; then
  echo "error: $binary is not there" >&2
  echo "hint: cargo build --release, or say where it is with GREENROOM_BIN" >&2
  exit 1
fi
GREENROOM_BIN="$(realpath "$binary")"
export GREENROOM_BIN

if [[ -z ${CHROMIUM:-} ]]; then
  for name in chromium chromium-browser google-chrome; do
    CHROMIUM="$(command -v "$name" || true)"
    [[ -n $CHROMIUM ]] && break
  done
fi
if [[ -z ${CHROMIUM:-} ]]; then
  echo "error: no Chromium" >&2
  echo "hint: apt-get install chromium" >&2
  exit 1
fi
export CHROMIUM

[[ -d node_modules ]] || npm ci
[[ -d dist && -z ${REBUILD:-} ]] || npm run --silent build

if (($#)); then files=("$@"); else files=(e2e/*.test.mjs); fi
exec node --test --test-concurrency=1 --test-reporter=spec "${files[@]}"
