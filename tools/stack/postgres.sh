# shellcheck shell=bash disable=SC2154 # $stack and $here are set by tools/stack.sh.
# Postgres for tests. Sourced by tools/stack.sh.

postgres_needs() { echo initdb=postgresql postgres=postgresql psql=postgresql-client; }

# Debian keeps the server's programs out of PATH, by version.
postgres_path() {
  local bin
  bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  if [ -x "$bin/postgres" ]; then PATH=$bin:$PATH; fi
}

postgres_start() {
  local data=$stack/data/postgres
  folder postgres
  ports postgres 1
  if [ ! -d "$data/main" ]; then postgres_create "$data" || return; fi
  # Those that a killed server leaves end by themselves; until then they hold its memory.
  local end=$((SECONDS + 10))
  while readlink /proc/[0-9]*/cwd 2>/dev/null | grep -qxF "$data/main" && [ $SECONDS -lt $end ]; do
    sleep 0.1
  done
  own "$data/postgres.conf" <"$here/postgres.conf"
  own "$data/pg_hba.conf" <"$here/pg_hba.conf"
  launch postgres postgres -D "$data/main" -c config_file="$data/postgres.conf" \
    -c hba_file="$data/pg_hba.conf" -c listen_addresses=127.0.0.1 -c port="$(port postgres)" \
    -c unix_socket_directories=
}

# postgres_create FOLDER: an empty one in its folder `main`, which is there when it is whole.
postgres_create() {
  rm -rf "$1/new"
  secret postgres-superuser | own "$1/password"
  run initdb -D "$1/new" -U postgres -A scram-sha-256 --pwfile="$1/password" -E UTF8 --locale=C.UTF-8 \
    >"$stack/logs/postgres-create.log" 2>&1 || {
    tail -n 8 "$stack/logs/postgres-create.log" >&2
    fail "Postgres could not make its files in $1/new"
    return
  }
  rm "$1/password"
  mv "$1/new" "$1/main"
}

postgres_ready() {
  until_ready postgres 60 check_postgres "$(postgres_url postgres postgres)" || return
  CHIRM_POSTGRES_PASSWORD=$(secret postgres-chirm) PGPASSWORD=$(secret postgres-superuser) \
    psql -Xqt -h 127.0.0.1 -p "$(port postgres)" -U postgres -f "$here/postgres-init.sql" postgres &&
    check_postgres "$(postgres_url chirm chirm)"
}

postgres_url() {
  local name=$1
  if [ "$1" = postgres ]; then name=superuser; fi
  echo "postgres://$1:$(secret "postgres-$name")@127.0.0.1:$(port postgres)/$2"
}

postgres_stop() { end 30 INT postgres; }

postgres_env() {
  echo "CHIRM_TEST_POSTGRES=$(postgres_url chirm chirm)"
  echo "CHIRM_TEST_POSTGRES_SUPERUSER=$(postgres_url postgres postgres)"
}
