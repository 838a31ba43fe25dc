#!/usr/bin/env bash
# Holds a server of its own against tools that know nothing of it: grpcurl (every method of every service
# by reflection), h2spec (HTTP/2 by the book), schemathesis (REST by its own description). Not part of
# `make test`, since they are not everybody's:
#   go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest
#   go install github.com/summerwind/h2spec/cmd/h2spec@latest
#   pip install schemathesis
# Usage: tools/outside.sh [EXAMPLES], how many requests schemathesis makes of each operation (40).
set -euo pipefail
cd "$(dirname "$0")/.."
examples=${1:-40}

target=${CARGO_TARGET_DIR:-$PWD/target}/debug
tools/programs.sh
scratch=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || { kill "$server" && wait "$server" || true; }
  rm -rf "$scratch"
}
trap stop EXIT
cd "$scratch"
chirm=$target/chirm

"$chirm" key create --data data --scope admin --json 2>/dev/null | jq -r .token >admin.key
"$chirm" serve --dev --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data data >ready 2>log &
server=$!
for _ in $(seq 300); do
  grep -q '^chirm ready on ' ready && break
  kill -0 "$server" || { cat log; exit 1; }
  sleep 0.1
done
url=$(sed -n 's/^chirm ready on //p' ready)
admin=$(sed -n 's/^operators connect to //p' log)
failed=0

# Every method answers an empty request: with a result, or with the error that it deserves.
grpcurl_all() {
  local address=${1#http://} service method answer methods=0
  for service in $(grpcurl -plaintext "$address" list); do
    for method in $(grpcurl -plaintext "$address" list "$service"); do
      methods=$((methods + 1))
      # A stream that is never sent anything ends by the identify deadline.
      answer=$(grpcurl -plaintext -max-time 8 -H "authorization: Bearer $(cat admin.key)" \
        -d '{}' "$address" "$method" 2>&1 || true)
      case $answer in
        *"Code: Internal"* | *"Code: Unknown"* | *"Failed to"*)
          echo "FAILED: $method: $answer"
          failed=1
          ;;
      esac
    done
  done
  echo "grpcurl: $methods methods at $1"
}

h2spec_all() {
  local address=${url#http://}
  h2spec -h "${address%:*}" -p "${address#*:}" >h2spec.txt 2>&1 || true
  grep -E "^[0-9]+ tests" h2spec.txt || { cat h2spec.txt; failed=1; }
  grep -E '^ *×' h2spec.txt | sort -u || true
}

# What it is to find in place of ids that don't exist, and the calls that would end its own session.
schemathesis_as() {
  local who=$1 token=$2
  cat >schemathesis.toml <<TOML
[parameters]
server_id = "$server_id"
channel_id = "$channel_id"
message_id = "$message_id"
TOML
  # Not all that is refused can be told by a document (a name in use, a page token of another list),
  # and unknown fields are skipped, as proto3 has it.
  if schemathesis --config-file schemathesis.toml run "$url/openapi.json" \
    -H "Authorization: Bearer $token" --max-examples "$examples" --seed 1 \
    --exclude-checks positive_data_acceptance,negative_data_rejection \
    --exclude-path /v1/auth/logout --exclude-path /v1/auth/delete-account \
    --exclude-path '/v1/auth/sessions/{session_id}' >schemathesis.txt 2>&1; then
    grep -A20 'SUMMARY' schemathesis.txt | grep -E 'Test cases|generated|passed' || tail -5 schemathesis.txt
  else
    cat schemathesis.txt
    failed=1
  fi
  echo "schemathesis as $who: done"
}

grpcurl_all "$url"
grpcurl_all "$admin"
h2spec_all
user=$(curl -s "$url/v1/auth/register" --json '{"username": "ann", "password": "correct horse"}' |
  jq -r .tokens.accessToken)
made=$(curl -s "$url/v1/servers" -H "authorization: Bearer $user" --json '{"name": "place"}')
server_id=$(jq -r .server.id <<<"$made")
channel_id=$(jq -r .generalChannelId <<<"$made")
message_id=$(curl -s "$url/v1/channels/$channel_id/messages" -H "authorization: Bearer $user" \
  --json '{"content": "Hello"}' | jq -r .message.id)
schemathesis_as "a user" "$user"
schemathesis_as "a service key" "$(cat admin.key)"
if grep -E 'panicked|"level":"ERROR"| ERROR ' log; then
  echo "FAILED: the server's log has errors"
  failed=1
fi
exit "$failed"
