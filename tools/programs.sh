#!/usr/bin/env bash
# Builds the programs that are tested, into the debug folder: chirm, chirm-bridge-ws, chirm-conformance.
# Usage: tools/programs.sh [OPTION OF CARGO]…
# With a test among them the crates below get the features that `cargo test --workspace` gives them; without it cargo
# would compile a part of them anew, and twice with another choice of packages: minutes each time.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo build --quiet --workspace --bin chirm --bin chirm-bridge-ws --bin chirm-conformance --test tidy "$@"
