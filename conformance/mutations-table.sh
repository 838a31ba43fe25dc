#!/usr/bin/env bash
# Writes the table of docs/testing.md from mutations.tsv.
set -euo pipefail
cd "$(dirname "$0")/.."

table=$(mktemp)
trap 'rm -f "$table"' EXIT
{
  echo '| bug | what is wrong | caught by |'
  echo '| --- | --- | --- |'
  while IFS=$'\t' read -r bug what cases; do
    read -r -a ids <<<"$cases"
    shown="${ids[*]:0:3}"
    [ "${#ids[@]}" -le 3 ] || shown="$shown and $((${#ids[@]} - 3)) more"
    echo "| $bug | $what | ${shown:-nothing: see below} |"
  done <conformance/mutations.tsv
} >"$table"
sed -i -e '/<!-- mutations -->/,/<!-- end -->/{//!d}' -e "/<!-- mutations -->/r $table" docs/testing.md
