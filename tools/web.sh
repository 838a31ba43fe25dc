#!/usr/bin/env bash
# Checks the page to try a server with: lints, and two people who talk by it in a real browser.
# CHIRM_BIN names the server's binary; else it is cargo's debug build. CHROMIUM names the browser's.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
export CHIRM_BIN=${CHIRM_BIN:-$target/debug/chirm}
[ -x "$CHIRM_BIN" ] || { echo "$CHIRM_BIN isn't there: tools/programs.sh" >&2; exit 1; }

tools/npm.sh clients/ts

clients/ts/node_modules/.bin/biome check --error-on-warnings --config-path=clients/ts web/*.js
for file in web/*; do
  most=$([[ $file == *.js ]] && echo 300 || echo 500)
  wide=$([[ $file == *.js ]] && echo 100 || echo 120)
  awk -v file="$file" -v most="$most" -v wide="$wide" '
    length > wide { print file ":" FNR ": over " wide " columns"; wrong = 1 }
    END { if (NR > most) { print file ": " NR " lines, over " most; wrong = 1 } exit wrong }' "$file"
done
# All that is shown is text; a policy forbids what is inline.
if grep -nE 'innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(' web/*.js; then
  echo "web: text goes in as text" >&2
  exit 1
fi
if [ -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
  cd clients/ts
  npm run --silent test:web
else
  echo "SKIPPED: tests in a browser: install chromium, or name its binary in CHROMIUM" >&2
fi
