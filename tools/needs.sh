#!/usr/bin/env bash
# Sees to it that programs are there, and installs what isn't from Debian's packages.
# Usage: tools/needs.sh PROGRAM=PACKAGE[,PACKAGE] …
set -euo pipefail

missing=()
for need in "$@"; do
  if ! command -v "${need%%=*}" >/dev/null; then
    IFS=, read -ra packages <<<"${need#*=}"
    missing+=("${packages[@]}")
  fi
done
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qy --no-install-recommends "${missing[@]}"
else
  echo "missing: install the packages ${missing[*]} (as Debian names them), then try again" >&2
  exit 1
fi
