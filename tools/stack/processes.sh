# shellcheck shell=bash disable=SC2154 # $stack and $here are set by tools/stack.sh.
# Ports, processes and files of the servers in a folder ($stack). Sourced by tools/stack.sh.

boot=$(</proc/sys/kernel/random/boot_id)

say() { echo "stack: $*"; }
fail() {
  echo "stack: $*" >&2
  return 1
}

# As whom the servers run: whoever calls, but not root, whom Postgres refuses.
user_of_servers() {
  as_user=()
  owner=$(id -un)
  [ "$(id -u)" = 0 ] || return 0
  owner=${CHIRM_STACK_USER:-nobody}
  command -v setpriv >/dev/null || fail "root needs setpriv (package util-linux) to start servers"
  id "$owner" >/dev/null 2>&1 || fail "there is no user $owner (CHIRM_STACK_USER)"
  local as=(setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups --no-new-privs)
  as_user=("${as[@]}" --inh-caps=-all --bounding-set=-all)
  "${as_user[@]}" test -x "$stack" 2>/dev/null && return 0
  # A folder inside one that is closed to others, as /root is: they may pass through such folders and read,
  # and have no other right of root's.
  local pass=dac_read_search
  # With the bit below, questions whether a file can be read are answered by that right, too.
  as_user=("${as[@]}" --inh-caps="-all,+$pass" --ambient-caps="+$pass" --bounding-set="-all,+$pass"
    --securebits=+no_setuid_fixup)
  "${as_user[@]}" test -x "$stack" 2>/dev/null ||
    fail "the user $owner can't reach $stack: name another folder in CHIRM_STACK, say /var/tmp/chirm-stack"
}

# start_time PID: when it started, in ticks since boot; fails for one that is gone or a zombie.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra stat <<<"${stat##*) }"
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

# pid_of NAME: the process that was started under this name, if it is that one still.
pid_of() {
  local pid started when
  read -r pid started when 2>/dev/null <"$stack/run/$1" || return 1
  [ "$when" = "$boot" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

alive() { pid_of "$1" >/dev/null; }

# folder NAME: a folder of its data, which the servers' user owns.
folder() {
  mkdir -p "$stack/data/$1"
  chmod 700 "$stack/data/$1"
  [ "${#as_user[@]}" = 0 ] || chown "$owner" "$stack/data/$1"
}

# own FILE: standard input becomes a file that the servers' user alone can read.
own() {
  (umask 077 && cat >"$1.new")
  [ "${#as_user[@]}" = 0 ] || chown "$owner" "$1.new"
  mv "$1.new" "$1"
}

# run COMMAND…: as the servers' user, with nothing of the caller's environment, which may hold secrets.
run() { env -i PATH="$PATH" LANG=C.UTF-8 "${as_user[@]}" "$@"; }

# launch NAME COMMAND…: starts a server. Its log is that of this start; the one before is kept.
launch() {
  local name=$1 log=$stack/logs/$1.log
  shift
  [ ! -f "$log" ] || mv "$log" "$log.before"
  (
    cd "$stack/data/$name" || exit
    # The lock of this script is not the servers' to hold.
    exec 9>&-
    exec setsid env -i PATH="$PATH" LANG=C.UTF-8 "${as_user[@]}" "$@"
  ) </dev/null >"$log" 2>&1 &
  echo "$! $(start_time $!) $boot" >"$stack/run/$name"
  disown
}

# until_ready NAME SECONDS CHECK…: waits until the check passes. It fails if the process ends before, or the
# time is over, and shows what was said last.
until_ready() {
  local name=$1 end=$((SECONDS + $2)) why
  shift 2
  until why=$("$@" 2>&1); do
    alive "$name" || why="it ended"
    if ! alive "$name" || [ $SECONDS -ge $end ]; then
      tail -n 8 "$stack/logs/$name.log" >&2
      fail "$name is not ready: ${why:-no answer}. Its log: $stack/logs/$name.log"
      return
    fi
    sleep 0.1
  done
}

# end SECONDS SIGNAL NAME…: asks the processes to end, all at once, and waits; kills what is left then.
end() {
  local end=$((SECONDS + $1)) signal=$2 name pid
  shift 2
  for name in "$@"; do
    pid=$(pid_of "$name") || continue
    kill "-$signal" "$pid" || true
    # One that a test has frozen would not hear it.
    kill -CONT "$pid" || true
  done
  for name in "$@"; do
    while alive "$name" && [ $SECONDS -lt $end ]; do sleep 0.1; done
    if pid=$(pid_of "$name"); then
      say "$name did not end when asked: killed"
      kill -KILL "$pid" || true
      end=$((SECONDS + 10))
      while alive "$name"; do
        [ $SECONDS -lt $end ] || fail "$name, process $pid, can't be ended" || return
        sleep 0.1
      done
    fi
    rm -f "$stack/run/$name"
  done
}

# port_taken PORT [STATE]: whether a socket of this machine has it (with STATE 0A: listens on it).
port_taken() {
  awk -v port="$(printf ':%04X' "$1")" -v state="${2:-}" '
    substr($2, length($2) - 4) == port && (state == "" || $4 == state) { taken = 1 }
    END { exit !taken }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# ports NAME COUNT: its ports, kept from the last start while they are free, else chosen anew, below the range
# from which the system takes ports for connections.
ports() {
  local file=$stack/ports/$1 count=$2 port chosen=()
  if [ -f "$file" ]; then
    read -ra chosen <"$file"
    if alive "$1"; then return; fi
    for port in "${chosen[@]}"; do
      if port_taken "$port" 0A; then chosen=(); fi
    done
  fi
  while [ "${#chosen[@]}" -lt "$count" ]; do
    port=$((15000 + RANDOM % 15000))
    port_taken "$port" || grep -qsw -- "$port" "$stack"/ports/* || chosen+=("$port")
    echo "${chosen[*]}" >"$file"
  done
}

# port NAME [NTH]: one of them.
port() {
  local all
  read -ra all <"$stack/ports/$1" && echo "${all[${2:-0}]}"
}

# secret NAME: a password, made at its first use and kept in a file of its own.
secret() {
  local file=$stack/secrets/$1
  if [ ! -s "$file" ]; then
    # It begins with a letter: configuration files take the rest for a number else.
    (umask 077 && printf 'p%s\n' "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" >"$file")
  fi
  cat "$file"
}
