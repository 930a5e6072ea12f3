#!/bin/sh
# gpu_plans.sh TARGET DIR: everything that gpu_run.sh needs on a machine with a GPU and no compiler.
set -eu
cd "$(dirname "$0")/.."
target=$1
out=$2
sinter=${SINTER:-build/bin/sinter}
mkdir -p "$out/goldens"
cp build/bin/sinter-run build/bin/random_schedules bench/check_logits.py bench/gpu_run.sh models/tiny-shakespeare-validation.txt "$out"
for config in bench/configs/*.json; do
  "$sinter" compile --synthetic "$config" --target "$target" --max-context 1024 \
    -o "$out/$(basename "$config" .json).plan" >/dev/null
done
for activations in a8 a16; do
  "$sinter" compile models/tiny-bonsai-1bit --target "host,$target" --activations $activations \
    -o "$out/tiny-$activations.plan" >/dev/null
done
# Another folder of cases may be named, e.g. the full set that those of the repository are from.
for case in "${SINTER_GOLDENS:-tests/goldens}"/*/golden.safetensors; do
  folder=$(dirname "$case")
  name=$(basename "$folder")
  # Cases whose format is not supported yet say so and are left out.
  "$sinter" dump "$folder" --stage import >/dev/null || continue
  mkdir -p "$out/goldens/$name"
  cp "$folder/case.json" "$folder/golden.safetensors" "$out/goldens/$name"
  python3 - "$case" >"$out/goldens/$name/ids.txt" <<'PYTHON'
import json, struct, sys
with open(sys.argv[1], "rb") as file:
    (size,) = struct.unpack("<Q", file.read(8))
    entry = json.loads(file.read(size))["input_ids"]
    begin, end = entry["data_offsets"]
    file.seek(8 + size + begin)
    print(*struct.unpack(f"<{(end - begin) // (4 if entry['dtype'] == 'I32' else 8)}"
                         f"{'i' if entry['dtype'] == 'I32' else 'q'}", file.read(end - begin)))
PYTHON
  for activations in a8 a16; do
    "$sinter" compile "$folder" --target "$target" --activations $activations \
      -o "$out/goldens/$name-$activations.plan" >/dev/null
  done
done
