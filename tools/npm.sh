#!/usr/bin/env bash
# Installs a folder's packages as its lock says, unless that was done; nothing has to run for it.
# Usage: tools/npm.sh FOLDER
set -euo pipefail

cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && exit 0
npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error
cp "$1/package-lock.json" "$1/node_modules/.installed"
