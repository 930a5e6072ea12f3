#!/bin/sh
# run.sh BUILD SECONDS TARGET [CORPUS]: lets a fuzz target work for some time, from a new random seed. New inputs are kept in the
# folder CORPUS; without one they are forgotten. Then the same inputs, and those that took the sanitized target long, are replayed
# by the code that users run, within its limit of time. On a failure it says which input did it and how to do it again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
seconds=$2
target=$3
corpus=${4:-}
program=$build/sanitized/bin/fuzz_$target
replay=$build/bin/replay_$target
artifacts=$build/fuzz/$target
mkdir -p "$artifacts/slow"
# Files of the target and forgotten inputs lie in memory.
scratch=$(mktemp -d /dev/shm/sinter-fuzz-XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$scratch/files" "$scratch/new" "$scratch/none"
[ -n "$corpus" ] || corpus=$scratch/new
mkdir -p "$corpus"
seeds=$here/corpus/$target
[ -d "$seeds" ] || seeds=$scratch/none
log=$artifacts/log
export TMPDIR="$scratch/files"

set -- -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=16384 -mutate_depth=2 -print_final_stats=1 \
  -artifact_prefix="$artifacts/" "$corpus" "$seeds"
[ -f "$here/dictionaries/$target.dict" ] && set -- -dict="$here/dictionaries/$target.dict" "$@"
options=detect_stack_use_after_return=0:quarantine_size_mb=16:malloc_context_size=0
if SINTER_FUZZ_SLOW="$artifacts/slow" ASAN_OPTIONS=$options "$program" "$@" >"$log" 2>&1; then
  awk -v target="$target" '/stat::number_of_executed_units/ { units = $2 } /stat::average_exec_per_sec/ { speed = $2 }
    /stat::peak_rss_mb/ { memory = $2 }
    END { printf "%s: %d executions, %d per second, at most %d MB, no failure\n", target, units, speed, memory }' "$log"
  printf '%s: ' "$target"
  if "$replay" "$corpus" "$seeds" "$artifacts/slow"; then
    rm -f "$artifacts/slow"/*
    exit 0
  fi
  [ "$corpus" != "$scratch/new" ] || cp -r "$corpus" "$artifacts/slow"
  echo "$target: failed without sanitizers; its inputs are in $artifacts/slow"
  echo "reproduce: $replay INPUT"
  exit 1
fi
input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
tail -n 60 "$log"
echo
echo "$target: failed; the whole report is in $log"
if [ -n "$input" ]; then
  echo "input:     $input"
  echo "reproduce: $program $input"
fi
exit 1
