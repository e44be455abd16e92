#!/usr/bin/env bash
# Builds what the example runs: tuskd and the C++ worker, the JavaScript SDK, the Go worker. Does
# nothing where nothing has changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

scripts/build release tuskd flights_ingest

newer() { [ ! -e "$1" ] || [ -n "$(find "${@:2}" -newer "$1" -print -quit)" ]; }
if newer workers/js/dist/index.js workers/js/src workers/js/package.json; then
  (cd workers/js && npm run --silent build && touch dist/index.js)
fi

mkdir -p build/flights
# libsqlite3: Debian's library, which saves a minute of compiling SQLite.
(cd examples/flights/go && go build -tags libsqlite3 -o ../../../build/flights/store .)
