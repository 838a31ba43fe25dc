# shellcheck shell=bash disable=SC2154 # $stack and $here are set by tools/stack.sh.
# Redis for tests: a single one, and a cluster of three masters with a replica each. Sourced by
# tools/stack.sh.

redis_needs() { echo redis-server=redis-server redis-cli=redis-tools; }
redis_cluster_needs() { redis_needs; }

cluster_nodes=(redis-cluster-{1..6})

redis_start() { redis_launch redis 768mb; }
redis_ready() { until_ready redis 60 check_redis "$(redis_url operator redis)"; }
redis_stop() { end 30 TERM redis; }

# redis_launch NAME MAXMEMORY [CONFIGURATION]: one server.
redis_launch() {
  local name=$1 data=$stack/data/$1
  folder "$name"
  ports "$name" 2
  redis_users | own "$data/users.acl"
  {
    cat "$here/redis.conf" "${@:3}"
    printf '%s\n' "bind 127.0.0.1" "port $(port "$name")" "dir \"$data\"" "aclfile \"$data/users.acl\"" \
      "maxmemory $2" "masteruser replica" "masterauth $(secret redis-replica)"
    if [ $# -gt 2 ]; then echo "cluster-port $(port "$name" 1)"; fi
  } | own "$data/redis.conf"
  launch "$name" redis-server "$data/redis.conf"
}

# Redis is told the hashes of passwords alone.
redis_users() {
  local text user
  text=$(<"$here/redis-users.acl")
  for user in chirm operator replica; do
    text=${text//"${user^^}_SHA256"/"$(printf %s "$(secret "redis-$user")" | sha256sum | cut -c -64)"}
  done
  echo "$text"
}

# redis_url USER NAME…: the addresses, with commas between.
redis_url() {
  local user=$1 name urls=()
  shift
  for name in "$@"; do urls+=("redis://$user:$(secret "redis-$user")@127.0.0.1:$(port "$name")"); done
  (IFS=, && echo "${urls[*]}")
}

redis_env() {
  echo "CHIRM_TEST_REDIS=$(redis_url chirm redis)"
  echo "CHIRM_TEST_REDIS_OPERATOR=$(redis_url operator redis)"
}

redis_cluster_start() {
  local name
  # What was never a whole cluster is made anew: it holds nothing.
  if [ ! -f "$stack/data/redis-cluster.made" ]; then
    redis_cluster_stop
    for name in "${cluster_nodes[@]}"; do rm -rf "$stack/data/$name"; done
  fi
  for name in "${cluster_nodes[@]}"; do ports "$name" 2; done
  redis_cluster_addresses
  for name in "${cluster_nodes[@]}"; do
    alive "$name" || redis_launch "$name" 64mb "$here/redis-cluster.conf"
  done
}

# The nodes keep each other's addresses: tells those that are down where the others are now, should a port
# have changed.
redis_cluster_addresses() {
  local name file at=
  for name in "${cluster_nodes[@]}"; do
    file=$stack/data/$name/nodes.conf
    if [ ! -s "$file" ]; then continue; fi
    at+="$(grep -m 1 myself "$file" | cut -d ' ' -f 1) $(port "$name") $(port "$name" 1)"$'\n'
  done
  for name in "${cluster_nodes[@]}"; do
    file=$stack/data/$name/nodes.conf
    if alive "$name" || [ ! -s "$file" ]; then continue; fi
    awk 'NR == FNR { at[$1] = ":" $2 "@" $3; next }
      $1 in at { sub(/:[0-9]+@[0-9]+/, at[$1], $2) } 1' <(printf %s "$at") "$file" | own "$file"
  done
}

redis_cluster_ready() {
  local name addresses=() log=$stack/logs/redis-cluster-create.log
  for name in "${cluster_nodes[@]}"; do
    addresses+=("127.0.0.1:$(port "$name")")
    until_ready "$name" 60 check_redis "$(redis_url operator "$name")" || return
  done
  if [ ! -f "$stack/data/redis-cluster.made" ]; then
    REDISCLI_AUTH=$(secret redis-operator) timeout 60 redis-cli --no-auth-warning --user operator \
      --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes >"$log" 2>&1 || {
      tail -n 8 "$log" >&2
      fail "the six could not be made a cluster"
      return
    }
    touch "$stack/data/redis-cluster.made"
  fi
  for name in "${cluster_nodes[@]}"; do
    until_ready "$name" 60 redis_cluster_check "$name" || return
  done
}

# redis_cluster_check NAME: whether a node sees all slots served and all six well, and has its replica or its
# master.
redis_cluster_check() {
  local url said
  url=$(redis_url operator "$1")
  check_redis_cluster "$url" || return
  if [ "$(redis_says "$url" CLUSTER SHARDS | grep -c '^online$')" != "${#cluster_nodes[@]}" ]; then
    echo "it does not see all nodes"
    return 1
  fi
  said=$(redis_says "$url" INFO replication | tr -d '\r')
  grep -qE '^(master_link_status:up|min_slaves_good_slaves:[1-9].*)$' <<<"$said" && return
  echo "it waits for its replica or its master"
  return 1
}

redis_cluster_stop() { end 30 TERM "${cluster_nodes[@]}"; }

redis_cluster_env() {
  echo "CHIRM_TEST_REDIS_CLUSTER=$(redis_url chirm "${cluster_nodes[@]}")"
  echo "CHIRM_TEST_REDIS_CLUSTER_OPERATOR=$(redis_url operator "${cluster_nodes[@]}")"
}
