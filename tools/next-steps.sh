#!/usr/bin/env bash
# Printed by `make run` before the server starts: what to try in a second terminal.
set -euo pipefail
listen=$1 data=$2 chirm=$3

cat <<TEXT

Chirm starts at http://$listen, its data in $data. Stop it with Ctrl-C; nothing is lost.
In a second terminal, from this folder:

  export PATH="$(dirname "$chirm"):\$PATH" CHIRM_SERVER=http://$listen
  chirm user register ann            # asks for a password, signs you in
  chirm server create "Ann's place"  # prints the server's id and its #general's
  chirm send CHANNEL 'hello'         # CHANNEL: the id that was printed
  chirm tail CHANNEL                 # live, from here on; Ctrl-C ends it

A back end's key:    chirm key create --data $data --name game
Over REST:           README.md, "Five minutes"
What it can do:      http://$listen/openapi.json

TEXT
