#!/bin/sh
# run_goldens.sh DEVICE [JOBS [PATTERN]]: runs the plans that pack_goldens.py put beside it, so many at a time, those whose names have PATTERN (a regular
# expression) in them. One line for each: errors of reading all tokens at once, in parts of odd sizes, one after another, and that without a graph.
# JSON=1 prints lines of JSON, LIMIT=120 is the seconds a plan may take.
set -eu
cd "$(dirname "$0")"
device=$1
jobs=${2:-8}
pattern=${3:-.}
[ -z "${JSON:-}" ] || json=--json
export device json="${json:-}" limit="${LIMIT:-120}"
results=$(mktemp)
trap 'rm -f "$results"' EXIT
# shellcheck disable=SC2016
grep -E -- "$pattern" cases.txt | xargs -P "$jobs" -I LINE sh -c '
  plan=${1%% *}
  # shellcheck disable=SC2086
  said=$(timeout "$limit" ./sinter-run compare $1 --device "$device" $json 2>&1) && code=0 || code=$?
  said=$(printf "%s\n" "$said" | tail -n 1)
  case $code in
    0) ;;
    1) ;;
    124) said="not ok no end after $limit seconds" ;;
    *) said="not ok exit code $code: $said" ;;
  esac
  [ -n "$json" ] && [ "$code" -le 1 ] && echo "$said" || printf "%-34s %s\n" "${plan%.plan}" "$said"
' sh LINE | tee "$results"
[ ! -s refused.txt ] || sed 's/^/not compiled: /' refused.txt
awk '/not ok|"ok":false}$/ { ++bad } END { printf "%d plans, %d within their tolerance\n", NR, NR - bad; exit bad > 0 || NR == 0 }' "$results"
