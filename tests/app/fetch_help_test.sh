#!/bin/sh
# scripts/fetch_help.py on made-up packages; no network.
# usage: fetch_help_test.sh PATH_OF_CHORUS
set -eu
exec python3 "$(dirname "$0")/../../scripts/fetch_help_test.py" "$1"
