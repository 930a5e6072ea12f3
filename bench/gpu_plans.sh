#!/bin/sh
# gpu_plans.sh TARGET DIR: everything that gpu_run.sh needs on a machine with a GPU and no compiler.
set -eu
cd "$(dirname "$0")/.."
target=$1
out=$2
sinter=${SINTER:-build/bin/sinter}
mkdir -p "$out"
cp build/bin/sinter-run build/bin/random_schedules bench/gpu_run.sh models/tiny-shakespeare-validation.txt "$out"
for config in bench/configs/*.json; do
  "$sinter" compile --synthetic "$config" --target "$target" --max-context 1024 \
    -o "$out/$(basename "$config" .json).plan" >/dev/null
done
for activations in a8 a16; do
  "$sinter" compile models/tiny-bonsai-1bit --target "host,$target" --activations $activations \
    -o "$out/tiny-$activations.plan" >/dev/null
done
# Another folder of cases may be named, e.g. the full set that those of the repository are from.
python3 bench/pack_goldens.py "$out/goldens" --target "$target" --sinter "$sinter" --goldens "${SINTER_GOLDENS:-tests/goldens}"
