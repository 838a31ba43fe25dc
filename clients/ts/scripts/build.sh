#!/usr/bin/env bash
# Builds dist: modules with their types, and one file for pages that have no bundler.
set -euo pipefail
cd "$(dirname "$0")/.."

rm -rf dist
node_modules/.bin/tsc -p tsconfig.build.json
node_modules/.bin/tsx scripts/generated.ts
node_modules/.bin/tsx scripts/bundle.ts
# npm packs the licence that stands beside package.json.
cp ../../LICENSE .
