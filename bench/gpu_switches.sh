#!/bin/sh
# gpu_switches.sh plans TARGET DIR: plans of the same models with and without a pass, or a rotation.
# gpu_switches.sh run DIR DEVICE [SINTER_RUN]: decode and prefill of all of them. Time per layer is that of a step by the
# number of layers.
set -eu
rotated=bench/configs/ternary-bonsai-2-27b-2bit.json

plans() {
  target=$1
  out=$2
  sinter=${SINTER:-build/bin/sinter}
  mkdir -p "$out"
  # shellcheck disable=SC2086
  compile() { "$sinter" compile --synthetic "$1" --target "$target" --max-context 1024 -o "$out/$2.plan" $3 >/dev/null; }
  # gate and up of experts as one phase; phases that need nothing of each other as one; both.
  for name in qwen3-30b-a3b-4bit qwen3.5-35b-a3b-3bit gpt-oss-20b-mxfp4; do
    compile "bench/configs/$name.json" "$name" ""
    for pass in fuse_experts join_phases fuse_experts,join_phases; do
      compile "bench/configs/$name.json" "$name-without-$pass" "--without $pass"
    done
  done
  # The same matrices, rotated and not.
  compile "$rotated" rotated ""
  sed 's/"synthetic_rotation": [0-9]*, //' "$rotated" >"$out/unrotated.json"
  compile "$out/unrotated.json" unrotated ""
}

run() {
  for plan in "$1"/*.plan; do
    echo "$plan"
    "${3:-build/bin/sinter-run}" bench "$plan" --prompt 512 --gen 128 --reps 5 --device "$2"
  done
}

case ${1:-} in
  plans) plans "$2" "$3" ;;
  run) run "$2" "$3" "${4:-build/bin/sinter-run}" ;;
  *) sed -n '2,4s/^# //p' "$0" && exit 2 ;;
esac
