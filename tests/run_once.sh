#!/bin/sh
# run_once.sh STAMPS INPUTS PROGRAM ARGUMENTS...: runs a test unless it passed before with the same program, libraries, processor,
# arguments and files in the folder INPUTS. For tests whose outcome depends on nothing else: what they draw has fixed seeds, and no
# threads race in them. SINTER_TEST_AGAIN=1 runs them all the same.
set -eu
stamps=$1
inputs=$2
shift 2
key=$({
  echo "$*" "${GTEST_TOTAL_SHARDS:-}" "${GTEST_SHARD_INDEX:-}"
  cat "$1"
  ldd "$1" | awk '$3 ~ /^\// { print $3 }' | xargs stat -L -c '%n %s %Y'
  grep -m 1 -E '^(flags|Features)' /proc/cpuinfo || true
  find "$inputs" -type f -print0 | sort -z | xargs -0 sha256sum
} | sha256sum | cut -d' ' -f1)
if [ -f "$stamps/$key" ] && [ -z "${SINTER_TEST_AGAIN:-}" ]; then
  echo "passed before with the same program and inputs; SINTER_TEST_AGAIN=1 runs it again"
  exit 0
fi
"$@"
mkdir -p "$stamps"
touch "$stamps/$key"
