#!/bin/sh
# fuzz.sh BUILD SECONDS JOBS TARGET...: lets targets work for some time each, JOBS of them at once. What they find of new inputs
# stays in BUILD/fuzz/TARGET/corpus, where the next run begins.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
seconds=$2
jobs=$3
shift 3
printf '%s\n' "$@" | xargs -P "$jobs" -I TARGET "$here/run.sh" "$build" "$seconds" TARGET "$build/fuzz/TARGET/corpus"
