#!/usr/bin/env bash
# Real servers for tests, in a folder of the checkout, on free ports of 127.0.0.1. docs/testing.md has more.
# Usage: tools/stack.sh up [PART…]             installs what is missing, starts, waits until each answers
#        tools/stack.sh down [--wipe] [PART…]  ends what `up` started; --wipe deletes the data, too
#        tools/stack.sh status [PART…]         what runs, by which process ids and at which ports
#        tools/stack.sh env                    addresses of what runs, as lines of export
# Parts: postgres, redis, redis-cluster (six), nats, cql. None named: all.
# CHIRM_STACK names another folder than .stack, CHIRM_STACK_USER as whom root's servers run (nobody).
# CHIRM_TEST_STACK=external: nothing is started; `up` checks the servers that the variables of `env` name.
# shellcheck source-path=SCRIPTDIR/stack
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd -P)
here=$root/tools/stack
all_parts=(postgres redis redis-cluster nats cql)
. "$here/processes.sh"
. "$here/checks.sh"
. "$here/postgres.sh"
. "$here/redis.sh"
. "$here/nats.sh"
. "$here/cql.sh"

usage() {
  sed -n '3,9s/^# \?//p' "$0"
}

# do_part PART VERB: calls the part's function.
do_part() { "${1//-/_}_$2"; }

# servers PART: the names of its processes.
servers() {
  if [ "$1" = redis-cluster ]; then printf '%s\n' "${cluster_nodes[@]}"; else echo "$1"; fi
}

# runs PART [any]: whether all its processes do, or any.
runs() {
  local name
  for name in $(servers "$1"); do
    if alive "$name"; then
      [ -z "${2:-}" ] || return 0
    else
      [ -n "${2:-}" ] || return 1
    fi
  done
  [ -z "${2:-}" ]
}

# variable PART: what holds its address for tests.
variable() {
  local name=${1//-/_}
  echo "CHIRM_TEST_${name^^}"
}

# open_folder: makes the stack's folder and takes its lock, so that nobody else starts or ends servers in it.
open_folder() {
  mkdir -p "$stack"
  stack=$(cd "$stack" && pwd -P)
  if [ ! -f "$stack/.chirm-stack" ]; then
    [ -z "$(ls -A "$stack")" ] || fail "$stack holds something else: name an empty folder in CHIRM_STACK"
    touch "$stack/.chirm-stack"
  fi
  mkdir -p "$stack"/{data,logs,ports,programs,run,secrets}
  chmod 700 "$stack/secrets"
  exec 9>"$stack/lock"
  flock -w 300 9 || fail "another stack-up or stack-down holds $stack/lock since 5 minutes"
}

# install PART…: Debian's packages for them, where something is missing.
install() {
  local part more needs=()
  for part in "$@"; do
    mapfile -t more < <(do_part "$part" needs | tr ' ' '\n')
    needs+=("${more[@]}")
  done
  no_services "$root/tools/needs.sh" "${needs[@]}" >"$stack/logs/install.log" 2>&1 || {
    tail -n 4 "$stack/logs/install.log" >&2
    fail "not all programs are here, and they could not be installed; the log: $stack/logs/install.log"
  }
  postgres_path
}

# no_services COMMAND…: packages of servers start them as services of the machine; while the command runs
# they don't, by Debian's way to say so.
no_services() {
  local policy=/usr/sbin/policy-rc.d as_root=() status=0
  if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
  if [ -e "$policy" ] || ! "${as_root[@]}" true 2>/dev/null; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  "$@" || status=$?
  "${as_root[@]}" rm -f "$policy"
  return "$status"
}

up() {
  local part state began=$SECONDS ran=() failed=()
  open_folder
  user_of_servers
  postgres_path
  install "$@"
  # All start at once, the slowest first, and are then waited for.
  for part in $(printf '%s\n' "$@" | tac); do
    if runs "$part"; then
      ran+=("$part")
    else
      do_part "$part" start || failed+=("$part")
    fi
  done
  for part in "$@"; do
    [[ " ${failed[*]} " == *" $part "* ]] && continue
    state="is ready"
    [[ " ${ran[*]} " == *" $part "* ]] && state="runs already"
    if do_part "$part" ready; then
      say "$part $state: $(do_part "$part" env | sed -n '1s/=.*127/ 127/; 1p')"
    else
      failed+=("$part")
    fi
  done
  [ "${#failed[@]}" = 0 ] || fail "not up: ${failed[*]}"
  say "up after $((SECONDS - began)) s; for tests: eval \"\$(tools/stack.sh env)\""
}

down() {
  local part name job stops=() wipe=
  if [ "${1:-}" = --wipe ]; then wipe=1 && shift; fi
  [ -f "$stack/.chirm-stack" ] || { say "nothing was started in $stack" && return; }
  open_folder
  for part in "$@"; do
    do_part "$part" stop &
    stops+=($!)
  done
  for job in "${stops[@]}"; do wait "$job" || fail "not all could be ended: tools/stack.sh status"; done
  for part in "$@"; do
    [ -n "$wipe" ] || continue
    for name in $(servers "$part"); do
      rm -rf "$stack/data/$name" "$stack/ports/$name" "$stack/logs/$name".*
    done
    rm -f "$stack/data/$part.made"
  done
  say "down: $*${wipe:+, their data deleted}"
}

status() {
  local part name pid running
  for part in "$@"; do
    running=()
    for name in $(servers "$part"); do
      if pid=$(pid_of "$name"); then running+=("$pid at port $(port "$name")"); fi
    done
    if [ "${#running[@]}" = 0 ]; then running=("not running"); fi
    say "$part: $(IFS=, && echo "${running[*]}")"
  done
}

environment() {
  local part line
  for part in "${all_parts[@]}"; do
    if ! runs "$part" any; then
      echo "stack: $part does not run" >&2
      continue
    fi
    for line in $(do_part "$part" env); do printf 'export %s=%q\n' "${line%%=*}" "${line#*=}"; done
  done
}

# external VERB PART…: as above, with servers of somebody else.
external() {
  local verb=$1 part name needs=() given=() failed=()
  shift
  for part in "$@"; do
    name=$(variable "$part")
    if [ -n "${!name:-}" ]; then
      given+=("$part")
    elif [ -n "$named" ] && [ "$verb" = up ]; then
      fail "CHIRM_TEST_STACK=external, but $name isn't set"
    fi
  done
  case $verb in
    env)
      for part in "${given[@]}"; do
        name=$(variable "$part")
        printf 'export %s=%q\n' "$name" "${!name}"
      done
      ;;
    up)
      [ "${#given[@]}" -gt 0 ] || fail "CHIRM_TEST_STACK=external, but none of CHIRM_TEST_POSTGRES … is set"
      [[ " ${given[*]} " != *" postgres "* ]] || needs+=(psql=postgresql-client)
      [[ " ${given[*]} " != *redis* ]] || needs+=(redis-cli=redis-tools)
      [ "${#needs[@]}" = 0 ] || "$root/tools/needs.sh" "${needs[@]}" || return
      for part in "${given[@]}"; do
        name=$(variable "$part")
        if "check_${part//-/_}" "${!name}"; then say "$part answers"; else failed+=("$part"); fi
      done
      [ "${#failed[@]}" = 0 ] || fail "external servers that don't answer: ${failed[*]}"
      ;;
    *) say "external: nothing of ours runs" ;;
  esac
}

verb=${1:-}
[ $# = 0 ] || shift
stack=${CHIRM_STACK:-$root/.stack}
wipe=()
if [ "$verb ${1:-}" = "down --wipe" ]; then wipe=(--wipe) && shift; fi
for part in "$@"; do
  [[ " ${all_parts[*]} " == *" $part "* ]] || { usage >&2 && fail "there is no part $part"; }
done
named=${1:-}
if [ $# = 0 ]; then set -- "${all_parts[@]}"; fi
[ -d /proc/self ] || fail "needs Linux, for /proc"
case $verb in
  up | down | status | env) ;;
  *) usage >&2 && exit 2 ;;
esac
if [ "${CHIRM_TEST_STACK:-}" = external ]; then
  external "$verb" "$@"
  exit
fi
case $verb in
  up) up "$@" ;;
  down) down "${wipe[@]}" "$@" ;;
  status) status "$@" ;;
  env) environment ;;
esac
