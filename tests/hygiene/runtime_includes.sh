#!/bin/sh
# runtime/ includes its own headers, the C and C++ libraries and the few libraries that are linked statically: no compiler, no Abseil.
set -eu
bad=$(git ls-files -co --exclude-standard 'runtime/*.h' 'runtime/*.cpp' | xargs grep -nE '^ *# *include *[<"]' |
  grep -vE '#include "runtime/' |
  grep -vE '#include <(fmt/[a-z-]+\.h|nlohmann/json\.hpp|utf8proc\.h|pcre2\.h|boost/multiprecision/cpp_int\.hpp)>' |
  grep -vE '#include "(fmt/[a-z]+\.h|nlohmann/json\.hpp)"' |
  grep -vE '#include <[a-z_0-9]+(\.h)?>' |
  grep -vE '#include <(sys|linux)/[a-z_]+\.h>' || true)
if [ -n "$bad" ]; then
  echo "$bad"
  echo "runtime/ may not include these"
  exit 1
fi
echo "runtime/ includes no compiler header"
