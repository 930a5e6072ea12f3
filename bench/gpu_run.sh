#!/bin/sh
# gpu_run.sh DEVICE: run in the folder that gpu_plans.sh made, on the machine with the GPU: correctness, then speed.
set -u
device=$1
cd "$(dirname "$0")"
failed=0
show() { echo "\$ $*"; "$@" 2>&1; }

show ./sinter-run doctor
show goldens/run_goldens.sh "$device" || failed=1
for activations in a16 a8; do
  for where in "$device" host; do
    show ./sinter-run eval tiny-$activations.plan --text tiny-shakespeare-validation.txt --window 256 --device "$where"
  done
done
for options in "--greedy" "--temperature 0.8 --top-k 20 --seed 7" "--temperature 1.1 --top-p 0.9 --seed 3"; do
  for where in "$device" host; do
    # shellcheck disable=SC2086
    ./sinter-run run tiny-a16.plan -p 'ROMEO:' -n 120 $options --device "$where" >"/tmp/text-${where%:*}" 2>/dev/null
  done
  if cmp -s "/tmp/text-${device%:*}" /tmp/text-host; then
    echo "run $options: the same text as on the host"
  else
    echo "run $options: ANOTHER text than on the host"
    failed=1
  fi
done
show ./sinter-run verify tiny-a8.plan --device "$device" || failed=1
for activations in a8 a16; do
  show ./random_schedules tiny-$activations.plan "$device" 200 || failed=1
done
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck; do
    show compute-sanitizer --tool $tool ./sinter-run run tiny-a8.plan -p 'ROMEO: I' -n 6 --greedy --device "$device"
  done
fi
for plan in bonsai-8b-1bit bonsai-1.7b-1bit bitnet-2b-2bit llama-3.2-1b-4bit; do
  show ./sinter-run bench $plan.plan --prompt 512 --gen 128 --reps 5 --device "$device"
done
for plan in bonsai-8b-1bit llama-3.2-1b-4bit; do
  show ./sinter-run profile $plan.plan --prompt 512 --gen 16 --device "$device"
done
[ $failed = 0 ] && echo "all checks passed" || echo "SOME CHECKS FAILED"
exit $failed
