#!/usr/bin/env bash
# Checks the dependencies: licences, bans and sources by cargo-deny, unused ones by cargo-machete.
# Both tools are built once, at pinned versions, and kept beside the build results.
set -euo pipefail
cd "$(dirname "$0")/.."

deny_version=0.20.2
machete_version=0.9.2
kept=${CHIRM_TOOLS:-${CARGO_TARGET_DIR:-$PWD/target}/cargo-tools}

# install CRATE VERSION: answers non-zero if the tool can't be had (a machine without a registry).
install() {
  local crate=$1 version=$2
  if "$kept/bin/$crate" --version 2>/dev/null | grep -qF "$version"; then return 0; fi
  echo "supply: building $crate $version once, into $kept"
  cargo install --locked --debug --quiet "$crate" --version "$version" --root "$kept" \
    --target-dir "$kept/build" && rm -rf "$kept/build"
}

if install cargo-machete "$machete_version"; then
  PATH="$kept/bin:$PATH" cargo machete
else
  echo "SKIPPED: cargo-machete could not be built; UNUSED DEPENDENCIES WERE NOT LOOKED FOR" >&2
fi

if install cargo-deny "$deny_version"; then
  PATH="$kept/bin:$PATH" cargo deny --all-features check bans licenses sources
else
  echo "SKIPPED: cargo-deny could not be built; LICENCES, BANS AND SOURCES WERE NOT CHECKED" >&2
fi

if [ -n "${CHIRM_ADVISORIES:-}" ]; then
  PATH="$kept/bin:$PATH" cargo deny --all-features check advisories
else
  cat >&2 <<'TEXT'
NOT CHECKED: security advisories of the dependencies. Their database is fetched from the network, which
this check does without. Where it can be fetched: CHIRM_ADVISORIES=1 tools/supply.sh
TEXT
fi
