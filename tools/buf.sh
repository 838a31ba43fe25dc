#!/usr/bin/env bash
# Checks the protocol with buf: lint, format, and breaking changes against main.
# The first run installs buf, pinned by tools/package-lock.json; later runs need no network.
set -euo pipefail
cd "$(dirname "$0")/.."

buf=tools/node_modules/.bin/buf
tools/npm.sh tools

echo "vendored files"
for folder in proto/vendor conformance/wire/proto; do
  sed -n 's/^| `\([^`]*\)` | `\([0-9a-f]*\)` |$/\2  \1/p' "$folder/README.md" |
    (cd "$folder" && sha256sum --check --strict --quiet)
done

echo "buf lint"
"$buf" lint
echo "buf format"
"$buf" format --diff --exit-code --path proto/chirm

# A clone of another branch has main as origin/main only.
main=
for name in main origin/main; do
  if git rev-parse --quiet --verify "$name^{commit}" >/dev/null; then
    main=$(git rev-parse "$name^{commit}")
    break
  fi
done
if [ -z "$main" ]; then
  echo "SKIPPED: buf breaking: there is no branch main here to compare with" >&2
elif [ -z "$(git ls-tree --name-only "$main" proto/chirm/)" ]; then
  echo "SKIPPED: buf breaking: main has no protocol yet to compare with" >&2
else
  echo "buf breaking against main (${main:0:12})"
  "$buf" breaking --against ".git#ref=$main" --against-config buf.yaml
fi
