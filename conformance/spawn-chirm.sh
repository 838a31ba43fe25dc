#!/bin/sh
# Starts a Chirm server for the conformance runner: chirm-conformance server --spawn 'conformance/spawn-chirm.sh'.
# The binary is $CHIRM, or the `chirm` on the path.
set -eu
chirm=${CHIRM:-chirm}
data=$CONFORMANCE_DIR/data
if [ ! -f "$CONFORMANCE_DIR/key" ]; then
  "$chirm" key create --data "$data" --scope admin --name conformance --json |
    sed -n 's/.*"token" *: *"\([^"]*\)".*/\1/p' >"$CONFORMANCE_DIR/key.new"
  mv "$CONFORMANCE_DIR/key.new" "$CONFORMANCE_DIR/key"
fi
exec "$chirm" serve --listen "$CONFORMANCE_LISTEN" --data "$data" --admin-listen 127.0.0.1:0
