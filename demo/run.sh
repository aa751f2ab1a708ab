#!/usr/bin/env bash
# The main job before your eyes: start an agent, watch it, stop it for certain, resume it.
# Usage: demo/run.sh [--exit]      --exit: end the server afterwards instead of keeping it up
set -euo pipefail
cd "$(dirname "$0")/.."

keep=yes
case "${1-}" in
  '') ;;
  --exit) keep=no ;;
  *)
    echo "usage: demo/run.sh [--exit]" >&2
    exit 2
    ;;
esac

binary="$PWD/target/release/greenroom"
if [[ ! -x $binary ]]; then
  echo "error: $binary is not there" >&2
  echo "hint: make build" >&2
  exit 1
fi

# Everything lies in one temporary folder; the default data folder moves there too, so
# that the commands shown need no options.
folder=$(mktemp -d "${TMPDIR:-/tmp}/greenroom-demo.XXXXXX")
export XDG_DATA_HOME="$folder"
data="$folder/greenroom"
unset GREENROOM_URL GREENROOM_TOKEN GREENROOM_SESSION GREENROOM_DATA
# The agent file names its program as any other: found by PATH.
export PATH="$PWD/demo:$PATH"

if [[ -t 1 && -z ${NO_COLOR-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' green='' plain=''
fi

heading() { printf '\n%s── %s%s\n' "$green$bold" "$*" "$plain"; }
say() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
pause() { sleep "${1:-1}"; }

# Shows a command as one would type it.
show() {
  printf '%s$' "$bold"
  local word
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=-]+$ || $word == '|' ]]; then
      printf ' %s' "$word"
    else
      printf " '%s'" "$word"
    fi
  done
  printf '%s\n' "$plain"
}

# Shows a greenroom command and does it.
greenroom() {
  show greenroom "$@"
  "$binary" "$@"
}

# Processes that work beneath the data folder, counted without asking Greenroom.
count_processes() {
  local count=0 cwd
  for cwd in /proc/[0-9]*/cwd; do
    [[ $(readlink "$cwd" 2>/dev/null) == "$data/work/"* ]] && count=$((count + 1))
  done
  echo "$count"
}

server=''
end() {
  local status=$?
  trap - EXIT
  # An impatient second Ctrl-C must not leave anything behind.
  trap '' INT TERM HUP
  set +e
  if [[ -n $server ]]; then
    heading "The end"
    "$binary" down --agents || "$binary" local stop --data "$data"
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
  fi
  local left
  left=$(count_processes)
  rm -rf "$folder"
  if ((left > 0)); then
    echo "error: $left processes of the demo are left" >&2
    exit 1
  fi
  say "Nothing is left: no server, no agent, no file in $folder."
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

heading "1  A server"
say "Coordinator, runner and store in one process; the store is a file in a temporary folder."
show greenroom up --listen 127.0.0.1:0 --agents demo/agent.yaml
# In a session of its own, so that Ctrl-C here reaches this script alone.
exec 3< <(exec setsid "$binary" up --listen 127.0.0.1:0 --agents demo/agent.yaml 2>"$folder/up.log")
server=$!
if ! read -r -t 60 ready <&3; then
  echo "error: the server did not become ready" >&2
  cat "$folder/up.log" >&2
  exit 1
fi
echo "$ready"
url=${ready##* }
greenroom agents ls
pause

heading "2  An agent at work"
say "It surveys a street, and starts daemons on the way that ignore SIGTERM. Streaming live:"
# What it says besides the agent's words would fall between the lines of the stop.
greenroom run surveyor 'Survey the whole street' --id street 2>"$folder/run.err" &
run=$!
pause 7

heading "3  A stop, from another terminal"
say "$(count_processes) processes work for this session now; most have left its session and process group."
greenroom sessions stop street
set +e
wait "$run"
status=$?
set -e
say "The command that streamed has ended as well, with exit code $status, and says:"
tail -n 2 "$folder/run.err"
say "Processes that are left, counted in /proc without asking Greenroom: $(count_processes)"
pause 2

heading "4  The receipt"
greenroom sessions show street
say "For programs, as JSON:"
show greenroom sessions show street --output json '|' grep -o '"survivors": *[0-9]*'
"$binary" sessions show street --output json | grep -o '"survivors": *[0-9]*'
pause 3

heading "5  Everything else is still there"
greenroom sessions files ls street
greenroom sessions files get street notes.md | tail -n 3
pause
greenroom sessions logs street | tail -n 4
pause 2

heading "6  Picked up again"
say "A second prompt, which needs what the first has left:"
greenroom sessions send street 'Summarise what you have' --follow
pause
greenroom sessions files get street summary.md
greenroom sessions ls
pause

if [[ $keep == no ]]; then
  exit 0
fi

heading "It is yours now"
echo "The server stays up at $url"
echo "Use it from another terminal:"
echo
echo "    export XDG_DATA_HOME=$folder"
echo "    $binary run surveyor 'Survey the whole street' --id another"
echo
say "Ctrl-C here ends server and agents and removes the folder."
while kill -0 "$server" 2>/dev/null; do
  sleep 1 &
  wait $!
done
