#!/bin/sh
# Every C and C++ file is as clang-format writes it.
set -eu
files=$(git ls-files -co --exclude-standard '*.h' '*.cpp' '*.c' | grep -v '^tests/goldens/')
# shellcheck disable=SC2086
"$1" --dry-run -Werror $files
echo "$(echo "$files" | wc -l) files are formatted"
