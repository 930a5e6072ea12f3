#!/bin/sh
# tidy.sh CLANG_TIDY BUILD SOURCE: clang-tidy over every source file, in the units that the build compiles: most of its time goes into headers,
# whose cost files share that are compiled together. A unit that was clean is looked at again only when its files, what they include
# themselves, or the rules changed; stamps are kept in the build folder.
set -eu
tidy=$1
build=$2
source=$3
export LC_ALL=C
stamps=$build/tidy-stamps
mkdir -p "$stamps"

# The source files of a unit, from the root of the project on.
files_of() {
  case $1 in
    */Unity/unity_*) sed -n "s|^#include \"$source/\(.*\)\"|\1|p" "$1" ;;
    *) echo "${1#"$source"/}" ;;
  esac
}
if [ "${4:-}" = --one ]; then
  unit=$5
  files=$(files_of "$unit")
  # shellcheck disable=SC2086
  key=$({
    cat .clang-tidy
    "$tidy" --version
    cat "$unit" $files
    sed -n 's/^#include "\(.*\)"/\1/p' $files | sort -u | while read -r header; do cat "$header" 2>/dev/null || true; done
  } | sha256sum | cut -d' ' -f1)
  [ -e "$stamps/$key" ] && exit 0
  "$tidy" --quiet --config-file=.clang-tidy --warnings-as-errors='*' -p "$build" "$unit" 2>"$stamps/$$.err" || {
    cat "$stamps/$$.err"
    exit 1
  }
  touch "$stamps/$key"
  exit
fi

wanted=$(mktemp)
units=$(mktemp)
trap 'rm -f "$wanted" "$units"' EXIT
git ls-files -co --exclude-standard 'ir/*.cpp' 'frontends/*.cpp' 'models/*.cpp' 'passes/*.cpp' 'codegen/*.cpp' 'runtime/*.cpp' 'tools/*.cpp' |
  sort >"$wanted"
sed -n 's/^ *"file": "\(.*\)"$/\1/p' "$build/compile_commands.json" | sort -u | while read -r unit; do
  files_of "$unit" | while read -r file; do echo "$file $unit"; done
done | sort | join "$wanted" - >"$units"
missing=$(join -v 1 "$wanted" "$units")
if [ -n "$missing" ]; then
  echo "$missing"
  echo "are compiled by no target, so nobody looks at them"
  exit 1
fi
cut -d' ' -f2- "$units" | sort -u | xargs -P "$(nproc)" -I{} "$0" "$tidy" "$build" "$source" --one {}
echo "$(wc -l <"$wanted") files are clean"
