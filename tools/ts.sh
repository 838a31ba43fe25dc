#!/usr/bin/env bash
# Checks the TypeScript client: generated code, formatting and lints, types, tests against a real
# server and in a browser, the package as it is packed and installed, its size, its documentation.
# CHIRM_BIN names the server's binary; else it is cargo's debug build.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
export CHIRM_BIN=${CHIRM_BIN:-$target/debug/chirm}
[ -x "$CHIRM_BIN" ] || { echo "$CHIRM_BIN isn't there: tools/programs.sh" >&2; exit 1; }

tools/npm.sh tools
tools/npm.sh clients/ts

cd clients/ts
say() { echo "clients/ts: $*"; }
say "generated code"
npm run --silent gen:check
say "formatting, lints"
npm run --silent lint
git ls-files '*.ts' '*.js' | grep -v '^src/gen/' | while read -r file; do
  awk -v file="$file" 'length > 100 { print file ":" FNR ": over 100 columns"; wrong = 1 }
    END { if (NR > 500) { print file ": " NR " lines, over 500"; wrong = 1 } exit wrong }' "$file"
done
say "types"
npm run --silent types
say "build"
npm run --silent build
say "package"
node_modules/.bin/publint --strict
node_modules/.bin/attw --pack . --profile esm-only --format ascii --no-color --quiet
say "size"
npm run --silent size
say "documentation"
node_modules/.bin/typedoc --logLevel Warn
say "tests"
npm test --silent
say "tests of the package, as a newcomer has it"
npm run --silent test:package
if [ -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
  say "tests in a browser"
  npm run --silent test:browser
else
  echo "SKIPPED: tests in a browser: install chromium, or name its binary in CHROMIUM" >&2
fi
