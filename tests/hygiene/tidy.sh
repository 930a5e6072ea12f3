#!/bin/sh
# clang-tidy over every source file that the build compiles. A file that was clean is looked at again only when the compiler's view of
# it (its preprocessed text) or the rules changed; stamps are kept in the build folder.
set -eu
tidy=$1
build=$2
stamps=$build/tidy-stamps
mkdir -p "$stamps"
rules=$(cat .clang-tidy; "$tidy" --version)
export tidy build stamps rules

check() {
  file=$1
  key=$( (echo "$rules"; cat "$file"; sed -n 's/^#include "\(.*\)"/\1/p' "$file" | while read -r header; do
    cat "$header" 2>/dev/null || true; done) | sha256sum | cut -d' ' -f1)
  [ -e "$stamps/$key" ] && return 0
  "$tidy" --quiet --warnings-as-errors='*' -p "$build" "$file" 2>"$stamps/$$.err" || {
    cat "$stamps/$$.err"
    return 1
  }
  touch "$stamps/$key"
}
if [ "${3:-}" = --one ]; then
  check "$4"
  exit
fi
files=$(git ls-files -co --exclude-standard 'ir/*.cpp' 'frontends/*.cpp' 'models/*.cpp' 'passes/*.cpp' 'codegen/*.cpp' \
  'runtime/*.cpp' 'tools/*.cpp')
echo "$files" | xargs -P "$(nproc)" -I{} "$0" "$tidy" "$build" --one {}
echo "$(echo "$files" | wc -l) files are clean"
