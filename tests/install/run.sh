#!/usr/bin/env bash
# Installs a build into an empty folder, then configures, builds and runs a program outside the tree that links it.
#   run.sh CMAKE BUILD_FOLDER
set -euo pipefail
cmake=$1 build=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/CMakeLists.txt" "$here/main.cpp" "$work/"
"$cmake" --install "$build" --prefix "$work/prefix" >"$work/log"
"$cmake" -S "$work" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/prefix"
"$cmake" --build "$work/build"
output=$("$work/build/outside")
echo "the program outside said: $output"
[ "${output#* }" = 6.0 ]
"$work/prefix/bin/chorus" --help >/dev/null
