#!/bin/sh
# What includes what. A room is a folder of two levels at most; a line of the table has a room and the rooms, or single headers, that it may
# include beside itself. Each stands below all that it includes: arrows go down.
# What a line allows and nobody does is taken out of it. The kernel library's own includes are relative to codegen/device.
set -eu
table='
runtime/support
runtime/abi
runtime/plan        runtime/abi runtime/support
runtime/session     runtime/abi runtime/plan runtime/support
runtime/host        runtime/abi runtime/plan runtime/session runtime/support
runtime/gpu         runtime/abi runtime/host runtime/plan runtime/session runtime/support
runtime/text        runtime/support
runtime             runtime/session runtime/text

ir
frontends           ir runtime/support
frontends/safetensors  frontends runtime/support
frontends/torch     frontends frontends/safetensors
frontends/gguf      frontends ir runtime/support runtime/text
frontends/rounding  frontends ir runtime/support
frontends/quantized frontends frontends/rounding frontends/safetensors ir
frontends/quantize  frontends frontends/quantized frontends/rounding ir
frontends/open      frontends frontends/gguf frontends/quantized frontends/safetensors frontends/torch runtime/support runtime/text
models              frontends frontends/quantized ir runtime/support runtime/text
models/blocks       frontends models
models/families     models models/blocks
models/user         frontends models models/blocks runtime/support
passes              ir

codegen/device
codegen/targets
codegen/compile     codegen/targets runtime/abi runtime/plan runtime/support
codegen/layouts     codegen/device/sizes.h codegen/targets frontends ir runtime/plan runtime/support
codegen/schedule    codegen/layouts ir runtime/abi runtime/plan
codegen/regions     codegen/device/sizes.h codegen/layouts codegen/schedule codegen/targets ir passes runtime/abi
codegen/probe       codegen/layouts codegen/regions codegen/schedule codegen/targets ir
codegen             codegen/compile codegen/layouts codegen/probe codegen/regions codegen/schedule codegen/targets frontends ir models passes runtime/plan

tools               codegen codegen/compile codegen/targets frontends frontends/gguf frontends/open frontends/quantize frontends/rounding ir models models/blocks models/user passes runtime/abi runtime/gpu runtime/host runtime/plan runtime/session runtime/support runtime/text
'
git ls-files -co --exclude-standard codegen frontends ir models passes runtime tools | grep -E '\.(h|cpp|def)$' |
  xargs grep -E '^ *# *include *"' | TABLE="$table" awk '
  function room_of(path, parts, n) {
    n = split(path, parts, "/")
    return n > 2 ? parts[1] "/" parts[2] : parts[1]
  }
  function complain(text) { print text; bad = 1 }
  BEGIN {
    lines = split(ENVIRON["TABLE"], line, "\n")
    for (i = 1; i <= lines; ++i) {
      words = split(line[i], word, " ")
      if (words == 0) continue
      for (w = 2; w <= words; ++w) {
        below = word[w] ~ /\.h$/ ? room_of(word[w]) : word[w]
        if (!(below in known)) complain(word[1] " stands above " word[w] " in the table, which it may include")
        allowed[word[1], word[w]] = 1
      }
      known[word[1]] = 1
    }
  }
  {
    colon = index($0, ":")
    file = substr($0, 1, colon - 1)
    split($0, quoted, "\"")
    top = quoted[2]
    if (!sub(/\/.*/, "", top) || top !~ /^(bench|codegen|frontends|ir|models|passes|runtime|tests|tools)$/) next
    from = room_of(file)
    to = room_of(quoted[2])
    if (from == to) next
    if ((from, to) in allowed)
      used[from, to] = 1
    else if ((from, quoted[2]) in allowed)
      used[from, quoted[2]] = 1
    else
      complain(file ": " from " may not include " quoted[2])
  }
  END {
    for (arrow in allowed)
      if (!(arrow in used)) {
        split(arrow, rooms, SUBSEP)
        complain(rooms[1] " does not include " rooms[2] ": take it out of the table")
      }
    if (!bad) print "every include is in the table of rooms"
    exit bad
  }'
