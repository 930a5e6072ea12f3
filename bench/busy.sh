#!/bin/sh
# busy.sh PLAN [THREADS...]: decode and prefill speed with these numbers of threads (1 2) beside 0, 1, .. busy loops, at most one
# for each processor.
set -eu
plan=$1
shift
run=${SINTER_RUN:-build/bin/sinter-run}
loops=
trap 'kill $loops 2>/dev/null || true' EXIT
echo "busy threads decode prefill (tokens/s)"
busy=0
while :; do
  for threads in ${*:-1 2}; do
    "$run" bench "$plan" --prompt 64 --gen 64 --reps 5 --threads "$threads" --json 2>/dev/null |
      python3 -c 'import json, sys
r = json.load(sys.stdin)
print(*sys.argv[1:], *(round(r[k + "_tokens_per_second"]["median"], 1) for k in ("decode", "prefill")))' "$busy" "$threads"
  done
  [ "$busy" -lt "$(nproc)" ] || break
  taskset -c "$busy" sh -c 'while :; do :; done' &
  loops="$loops $!"
  busy=$((busy + 1))
done
