# shellcheck shell=bash disable=SC2154 # $stack and $here are set by tools/stack.sh.
# NATS for tests. Sourced by tools/stack.sh.

nats_needs() { echo nats-server=nats-server; }

nats_start() {
  local data=$stack/data/nats text
  folder nats
  ports nats 1
  text=$(<"$here/nats.conf")
  echo "${text/\$CHIRM_NATS_PASSWORD/"$(secret nats)"}" | own "$data/nats.conf"
  launch nats nats-server -c "$data/nats.conf" -a 127.0.0.1 -p "$(port nats)"
}

nats_url() { echo "nats://chirm:$(secret nats)@127.0.0.1:$(port nats)"; }
nats_ready() { until_ready nats 30 check_nats "$(nats_url)"; }
nats_stop() { end 15 TERM nats; }
nats_env() { echo "CHIRM_TEST_NATS=$(nats_url)"; }
