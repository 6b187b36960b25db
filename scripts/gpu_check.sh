#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, out of the folder that scripts/gpu_kit.sh makes: what the GPU can do, whether chorus is
# right on it, and how fast; the cheapest first, in at most nine minutes. Each step has its own limit, and what it says is
# in RESULTS as it comes, also when a later one hangs.
#
#   gpu_check.sh RESULTS [--trial] [STEP...]     all steps if none is named
#
#   --trial: without a GPU, the CPU in its place and everything small
set -uo pipefail
kit=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "gpu_check: usage: gpu_check.sh RESULTS [--trial] [STEP...]" >&2; exit 2; }
mkdir -p "$1" && cd "$1" || exit 1
shift
trial= failed= ran=
[ "${1:-}" != --trial ] || { trial=$1; shift; }
wanted=" $* "

step() { # NAME SECONDS COMMAND...: its output in NAME.txt, how it ended in ended.txt
  local name=$1 limit=$2 began=$SECONDS code=0
  [[ $wanted = "  " || $wanted = *" $name "* ]] || return 0
  shift 2 && ran=1
  timeout --kill-after=5 "$limit" "$@" >"$name.txt" 2>&1 || code=$?
  [ $code = 0 ] || failed="$failed $name"
  printf '%-10s %4d s  %s\n' "$name" $((SECONDS - began)) "$([ $code = 0 ] && echo done || echo "ended with $code (124, 137: its limit)")" |
    tee -a ended.txt
}
check=(python3 "$kit/gpu_check.py" --run "$kit/run" $trial)
machine=(sh -c "nvidia-smi; lscpu; free -g; nproc") tests=(env CHORUS_TEST_DEVICE=cuda "$kit/run" test_device)
if [ -n "$trial" ]; then
  machine=(sh -c "lscpu; free -g; nproc") tests=("$kit/run" test_device)
  export OMP_NUM_THREADS=1 # more would spin while they wait for cores that others use
fi

step machine 5 "${machine[@]}"
step ceilings 20 "${check[@]}" ceilings
step program 5 "$kit/run" chorus --version
step tests 45 "${tests[@]}" --gtest_filter='*Operations*:*Device.*:*Capture*'
step suites 50 "${check[@]}" suites
step updates 35 "${check[@]}" updates
step layers 60 "${check[@]}" layers
step steps 70 "${check[@]}" steps
step tiers 75 "${check[@]}" tiers
step largest 120 "${check[@]}" largest
if command -v compute-sanitizer >/dev/null; then
  few=(compute-sanitizer --target-processes all --error-exitcode 1 --print-limit 5 --tool)
  step memcheck 40 "${few[@]}" memcheck "${check[@]}" smallest
  step racecheck 35 "${few[@]}" racecheck --kernel-name kns=chorus "${check[@]}" smallest
fi
[ -n "$ran" ] || { echo "gpu_check: no such step:$wanted" >&2; exit 2; }
[ -z "$failed" ] || { echo "gpu_check: not well:$failed (see $PWD)" >&2; exit 1; }
