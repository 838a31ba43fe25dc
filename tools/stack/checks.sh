# shellcheck shell=bash disable=SC2154 # $stack and $here are set by tools/stack.sh.
# Whether a server answers at an address, asked in its own protocol. Sourced by tools/stack.sh, which uses
# them for its own servers and for those of CHIRM_TEST_STACK=external. Each is given 5 s, and says what is
# wrong without the address's password.

# split URL: sets scheme, user, password (decoded), host, port and rest (database and options).
split() {
  local url=$1 login='' at
  scheme=${url%%://*}
  url=${url#*://}
  at=${url%%[/?]*}
  rest=${url#"$at"}
  if [[ $at == *@* ]]; then
    login=${at%@*}
    at=${at##*@}
  fi
  user=$(decoded "${login%%:*}")
  password=
  if [[ $login == *:* ]]; then password=$(decoded "${login#*:}"); fi
  host=$at port=
  if [[ $at =~ ^(.*):([0-9]+)$ ]]; then host=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]}; fi
}
decoded() { printf '%b' "${1//%/\\x}"; }

# check_postgres URL: whether a query is answered.
check_postgres() {
  local scheme user password host port rest
  split "$1"
  # Passwords go by the environment: arguments can be read by everybody on the machine.
  PGUSER=$user PGPASSWORD=$password PGCONNECT_TIMEOUT=5 timeout 5 \
    psql -Xqtw -o /dev/null -d "$scheme://$host:${port:-5432}$rest" -c 'SELECT 1' 2>&1 ||
    { echo "Postgres at $host:${port:-5432} doesn't answer a query"; return 1; }
}

# redis_says URL COMMAND…: what Redis answers.
redis_says() {
  local scheme user password host port rest options=()
  split "$1"
  shift
  if [ -n "$user" ]; then options+=(--user "$user"); fi
  if [ "$scheme" = rediss ]; then options+=(--tls); fi
  REDISCLI_AUTH=$password timeout 5 \
    redis-cli -e --no-auth-warning -h "$host" -p "${port:-6379}" "${options[@]}" "$@" 2>&1
}

# check_redis URL: whether it answers, and has loaded what it keeps.
check_redis() {
  local said
  said=$(redis_says "$1" PING) && [ "$said" = PONG ] && return
  echo "Redis at ${1##*@} says: ${said:-nothing within 5 s}"
  return 1
}

# check_redis_cluster URL,URL,…: whether each node sees all slots served.
check_redis_cluster() {
  local url urls said
  IFS=, read -ra urls <<<"$1"
  for url in "${urls[@]}"; do
    check_redis "$url" || return
    said=$(redis_says "$url" CLUSTER INFO | tr -d '\r')
    if [[ $said != *cluster_state:ok* || $said != *cluster_slots_ok:16384* ]]; then
      echo "Redis at ${url##*@} sees no whole cluster: $(head -n 2 <<<"$said" | paste -sd ' ')"
      return 1
    fi
  done
}

# check_nats URL: whether it lets us in and answers.
check_nats() {
  local scheme user password host port rest said
  split "$1"
  said=$(nats_exchange "$host" "${port:-4222}" "$user" "$password" 2>/dev/null) || true
  [ "$said" = PONG ] && return
  echo "NATS at $host:${port:-4222} says: ${said:-nothing within 5 s}"
  return 1
}
# The protocol is lines of text: the server tells about itself, then answers a PING or says what is wrong.
nats_exchange() {
  local line
  exec 3<>"/dev/tcp/$1/$2" || return
  IFS= read -rt 5 -u 3 line || return
  printf 'CONNECT {"verbose":false,"user":"%s","pass":"%s"}\r\nPING\r\n' "$3" "$4" >&3
  while IFS= read -rt 5 -u 3 line; do
    case $line in PONG* | -ERR*) printf '%s' "${line%$'\r'}" && return ;; esac
  done
}

# check_cql HOST:PORT: whether a query is answered, in CQL's native protocol, version 4.
check_cql() {
  local said
  said=$(cql_exchange "${1%:*}" "${1##*:}" 2>/dev/null) || true
  [ "$said" = 08 ] && return
  echo "the CQL server at $1 doesn't answer a query${said:+ (opcode $said)}"
  return 1
}
# Frames of version, flags, stream (2 bytes), opcode, length (4 bytes), body: STARTUP with its map of options,
# then QUERY with text, consistency ONE and no flags. Prints the opcode of the second answer: 08 is a result.
cql_exchange() {
  local query='SELECT key FROM system.local' length opcode
  length=${#query}
  exec 3<>"/dev/tcp/$1/$2" || return
  printf '\x04\x00\x00\x01\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0' >&3
  cql_answer >/dev/null || return
  # shellcheck disable=SC2059
  printf "\x04\x00\x00\x02\x07\x00\x00\x00\\x$(printf %02x $((length + 7)))" >&3
  # shellcheck disable=SC2059
  printf "\x00\x00\x00\\x$(printf %02x "$length")$query\x00\x01\x00" >&3
  opcode=$(cql_answer) && printf '%s' "$opcode"
}
# Reads one frame and prints its opcode.
cql_answer() {
  local header
  read -ra header < <(timeout 5 head -c 9 <&3 | od -An -tx1)
  [ "${#header[@]}" = 9 ] || return
  timeout 5 head -c "$((16#${header[5]}${header[6]}${header[7]}${header[8]}))" <&3 >/dev/null || return
  echo "${header[4]}"
}
