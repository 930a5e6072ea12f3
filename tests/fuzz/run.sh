#!/bin/sh
# run.sh BUILD SECONDS TARGET [CORPUS]: lets a fuzz target work for some time, from a new random seed. New inputs are kept in the
# folder CORPUS; without one they are forgotten. On a failure it says which input did it and how to do it again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
seconds=$2
target=$3
corpus=${4:-}
program=$build/sanitized/bin/fuzz_$target
artifacts=$build/fuzz/$target
mkdir -p "$artifacts"
# Files of the target and forgotten inputs lie in memory.
scratch=$(mktemp -d /dev/shm/sinter-fuzz-XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$scratch/files" "$scratch/new"
[ -n "$corpus" ] || corpus=$scratch/new
mkdir -p "$corpus"
log=$artifacts/log

set -- -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=16384 -mutate_depth=2 -print_final_stats=1 \
  -artifact_prefix="$artifacts/" "$corpus"
[ -f "$here/dictionaries/$target.dict" ] && set -- -dict="$here/dictionaries/$target.dict" "$@"
[ -d "$here/corpus/$target" ] && set -- "$@" "$here/corpus/$target"
options=detect_stack_use_after_return=0:quarantine_size_mb=16:malloc_context_size=8
if TMPDIR=$scratch/files ASAN_OPTIONS=$options "$program" "$@" >"$log" 2>&1; then
  awk -v target="$target" '/stat::number_of_executed_units/ { units = $2 } /stat::average_exec_per_sec/ { speed = $2 }
    /stat::peak_rss_mb/ { memory = $2 }
    END { printf "%s: %d executions, %d per second, at most %d MB, no failure\n", target, units, speed, memory }' "$log"
  exit 0
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
