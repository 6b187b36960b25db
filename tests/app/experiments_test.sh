#!/bin/sh
# experiments/run.py, with a program that only writes what a training would.
set -eu
exec python3 "$(dirname "$0")/../../experiments/run_test.py"
