#!/usr/bin/env bash
# Breaks the real servers under a node while it serves a replay, and says how long it took to recover, by itself
# (docs/testing.md, "Faults of real servers").
# Usage: tools/stack-faults.sh [FAULT]…    none named: all of tools/stack/faults/kinds.py, some 30 minutes
# CHIRM_PROGRAMS names the folder of chirm (with the feature `mutations`) and chirm-bridge-ws; without it they are
# built. CHIRM_STACK as of tools/stack.sh: servers in a folder of its own are broken under nobody else's feet.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${CHIRM_PROGRAMS:-}" ]; then
  target=${CARGO_TARGET_DIR:-$PWD/target}/debug
  # With the feature a node can be told where to die. The next build takes it away again.
  tools/programs.sh --features chirm-server/mutations
  CHIRM_PROGRAMS=$(mktemp -d)
  trap 'rm -rf "$CHIRM_PROGRAMS"' EXIT
  cp "$target/chirm" "$target/chirm-bridge-ws" "$CHIRM_PROGRAMS"
fi
tools/needs.sh python3=python3 faketime=faketime
export CHIRM_PROGRAMS PYTHONDONTWRITEBYTECODE=1
python3 tools/stack/faults/main.py "$@"
