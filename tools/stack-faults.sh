#!/usr/bin/env bash
# Breaks the real servers under a node while it serves a replay, and says how long it took to recover, by itself
# (docs/testing.md, "Faults of real servers").
# Usage: tools/stack-faults.sh [FAULT]…    none named: all of tools/stack/faults/kinds.py, some 30 minutes
# CHIRM_PROGRAMS names the folder of chirm and chirm-bridge-ws; without it they are built. CHIRM_STACK as of
# tools/stack.sh: servers in a folder of its own are broken under nobody else's feet.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${CHIRM_PROGRAMS:-}" ]; then
  cargo build --bin chirm --bin chirm-bridge-ws
  CHIRM_PROGRAMS=${CARGO_TARGET_DIR:-$PWD/target}/debug
fi
tools/needs.sh python3=python3
export CHIRM_PROGRAMS PYTHONDONTWRITEBYTECODE=1
exec python3 tools/stack/faults/main.py "$@"
