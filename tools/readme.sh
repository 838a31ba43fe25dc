#!/usr/bin/env bash
# Runs README's tours by REST and of a back end, as they stand there, against a server of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}/debug
tools/programs.sh
readme=$PWD/README.md
scratch=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || { kill "$server" && wait "$server" || true; }
  rm -rf "$scratch"
}
trap stop EXIT

# The shell commands under a heading.
commands() {
  awk -v heading="### $1" '
    $0 == heading { inside = 1; next }
    /^#/ && !fenced { inside = 0 }
    inside && /^```sh$/ { fenced = 1; next }
    fenced && /^```$/ { fenced = 0; next }
    fenced' "$readme"
}

cd "$scratch"
"$target/chirm" serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data ./chirm-data \
  >ready 2>log &
server=$!
for _ in $(seq 300); do
  grep -q '^chirm ready on ' ready && break
  kill -0 "$server" || { cat log; exit 1; }
  sleep 0.1
done
url=$(sed -n 's/^chirm ready on //p' ready)

# One shell for both: the second tour uses what the first has set.
for heading in "By REST" "A back end, five minutes more"; do
  commands "$heading" >commands
  [ -s commands ] || { echo "README has no commands under '$heading'"; exit 1; }
  cat commands
done | sed "s|http://127.0.0.1:7300|$url|g" >tours
PATH="$target:$PATH" bash -euo pipefail tours >said 2>&1 || true
for text in '"content":"Hello"' '"content":"Round one"' '"accessToken":"'; do
  grep -qF "$text" said || { cat tours said log; echo "FAILED: README's tours print no $text"; exit 1; }
done
echo "README's tours by REST and of a back end: as promised"
