#!/usr/bin/env bash
# Says whether src/gen is what the protocol gives today.
set -euo pipefail
cd "$(dirname "$0")/.."

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
../../tools/node_modules/.bin/buf generate --output "$fresh"
if ! diff -r "$fresh/src/gen" src/gen; then
  echo "src/gen isn't what the protocol gives: npm run gen" >&2
  exit 1
fi
