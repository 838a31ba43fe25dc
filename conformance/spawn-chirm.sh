#!/bin/sh
# Starts a Chirm server for the conformance runner: chirm-conformance server --spawn conformance/spawn-chirm.sh
# The binary is $CHIRM, or the `chirm` on the path.
set -eu
chirm=${CHIRM:-chirm}
data=$CONFORMANCE_DIR/data
# On the servers of a cluster, if the environment names them, each server has a place of its own.
if [ -n "${CHIRM__POSTGRES__URL:-}" ]; then
  CHIRM__NAMESPACE=c_$(printf %s "$CONFORMANCE_DIR" | sha256sum | cut -c -24)
  export CHIRM__NAMESPACE
fi
key() {
  if [ ! -f "$CONFORMANCE_DIR/$1" ]; then
    "$chirm" key create --data "$data" --scope "$2" --name "$1" --json |
      sed -n 's/.*"token" *: *"\([^"]*\)".*/\1/p' >"$CONFORMANCE_DIR/$1.new"
    mv "$CONFORMANCE_DIR/$1.new" "$CONFORMANCE_DIR/$1"
  fi
}
key admin-key admin
key key service
exec "$chirm" serve --listen "$CONFORMANCE_LISTEN" --data "$data" --admin-listen 127.0.0.1:0
