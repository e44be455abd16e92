#!/bin/sh
# Installs the SDK from a build folder into an empty prefix, and builds and runs a program of a
# project that knows only the prefix.
#   run.sh BUILD SOURCE
set -eu
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --component tusk-cpp --prefix "$work/prefix" > "$work/log"
for name in zmq daemon proto/ src/; do
  if grep -rn "include.*$name" "$work/prefix/include"; then
    echo "an installed header includes $name" >&2
    exit 1
  fi
done
cmake -S "$source" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release > "$work/log"
cmake --build "$work/build" > "$work/log" || { cat "$work/log"; exit 1; }
"$work/build/app"
