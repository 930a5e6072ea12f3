#!/bin/sh
# programs_alone.sh SOURCE CC CXX: the programs are configured without anything that only .ci/packages/tests installs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --no-warn-unused-cli -S "$1" -B "$folder" -G Ninja -DBUILD_TESTING=OFF -DCMAKE_C_COMPILER="$2" -DCMAKE_CXX_COMPILER="$3" \
  -DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON -DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON -DCMAKE_DISABLE_FIND_PACKAGE_Python3=ON >/dev/null
if grep -E '^SINTER_(CLANG_FORMAT|CLANG_TIDY|FILECHECK|LIT|ONIGURUMA|SENTENCEPIECE)' "$folder/CMakeCache.txt"; then
  echo "were looked for, and are there for tests alone" >&2
  exit 1
fi
