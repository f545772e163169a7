#!/usr/bin/env bash
# Builds the native tests on a machine with an NVIDIA GPU, runs them on CUDA, and with Node the benchmark, too.
#
#   tools/gpu/check.sh [--torch FOLDER] [--node FILE] [--model FOLDER] [--bench] [--dtypes LIST] [--steps LIST] [--callers] [--only tests|bench] [--device D]
#     [--out FOLDER] [--build FOLDER]
#
#   --torch   a CUDA build of libtorch, or Python's `torch` folder; METAVOICE_LIBTORCH, else what python3 has
#   --node    Node 20.19 or newer; METAVOICE_NODE, else the one on PATH. Without Node there is no addon and no benchmark, and
#             the tests need --model
#   --model   the converted test model (scripts/native-model.mjs); with Node it is made here
#   --bench   that of the kernels, and afterwards bench/run.mjs at the published size with random weights (10 GB in --build)
#   --dtypes  of the benchmark, "bfloat16 float16"
#   --steps   with --bench, decode steps with these quantisations, too: "none,int8,int4"
#   --callers the benchmark measures 1 to 64 callers, too
#   --only    the native tests alone, or the benchmark alone
#   --device  where tests and benchmark run; cuda
#   --out     where logs and results go; OUT, else build/gpu
#   --build   where everything is built; /tmp/metavoice-gpu
#
# Needs CMake, Ninja and a C++20 compiler; with Node also dist/ (`npm run build:ts`) and node_modules with node-addon-api,
# node-api-headers and what the package needs to run. Nothing is fetched. Each test case covers float32, float16 and bfloat16
# where the dtype matters. Suites run in processes of their own, so that one that breaks the device breaks no other; one that
# crashes is run again case by case. It goes on after every failure and ends with a summary; exit code 1 where anything failed.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
torch=${METAVOICE_LIBTORCH:-} node=${METAVOICE_NODE:-} model='' bench='' dtypes='bfloat16 float16' steps='' callers='' only='' device=cuda out=${OUT:-$root/build/gpu} build=/tmp/metavoice-gpu
while [ $# -gt 0 ]; do
  case $1 in
    --bench) bench=1; shift; continue ;;
    --callers) callers=1; shift; continue ;;
    --dtypes) dtypes=${2:?} ;;
    --steps) steps=${2:?} ;;
    --torch) torch=${2:?} ;;
    --node) node=${2:?} ;;
    --model) model=${2:?} ;;
    --only) only=${2:?} ;;
    --device) device=${2:?} ;;
    --out) out=${2:?} ;;
    --build) build=${2:?} ;;
    *) sed -n '2,26s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
  shift 2
done
[ "$only" = bench ] && bench=1
mkdir -p "$out" "$build" || exit 2
started=$SECONDS
failures=()
say() { printf '%4d s  %s\n' $((SECONDS - started)) "$*" | tee -a "$out/summary.txt"; }
fail() { failures+=("$1"); say "FAIL $1"; }
# Files are few, and are there as they grow.
for file in summary.txt build.log model.log native.log bench.log; do : >"$out/$file"; done

[ -n "$torch" ] || torch=$(python3 -c 'import importlib.util; print(importlib.util.find_spec("torch").submodule_search_locations[0])') || exit 2
[ -n "$node" ] || node=$(command -v node) || node=''
[ -n "$node" ] && ! "$node" --version >/dev/null 2>&1 && { fail "$node does not run"; node=''; }
{
  nvidia-smi
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,memory.used --format=csv
  printf '%s cores, %s\n' "$(nproc)" "$(free -g | awk '/^Mem/ {print $2 " GiB"}')"
  c++ --version | head -1; cmake --version | head -1; grep -h version "$torch/version.py" "$torch/build-version" 2>/dev/null
} >>"$out/build.log" 2>&1
say "$(nvidia-smi --query-gpu=name --format=csv,noheader 2>&1 | head -1), libtorch $torch, Node ${node:+$("$node" --version)}"

# A random model takes a while to write, and nothing but Node.
if [ -n "$bench" ] && [ -n "$node" ]; then
  ("$node" "$root/bench/full-size-checkpoint.mjs" "$build/full-size" && touch "$build/full-size.done") >>"$out/model.log" 2>&1 &
  writing=$!
fi

# ------------------------------------------------------------------------------------------ build

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .)
settings=(-DMETAVOICE_LIBTORCH="$torch" -DMETAVOICE_TESTS=ON -DMETAVOICE_CUDA=ON "-DMETAVOICE_CUDA_ARCHITECTURES=${capability:-90}")
if [ -n "$node" ]; then
  settings+=("-DMETAVOICE_NODE_INCLUDE=$root/node_modules/node-api-headers/include;$root/node_modules/node-addon-api")
else
  settings+=(-DMETAVOICE_ADDON=OFF)
fi
cmake -S "$root" -B "$build/cmake" -G Ninja "${settings[@]}" >>"$out/build.log" 2>&1 || fail 'configuring'
make() { ninja -C "$build/cmake" -k 0 -j "$(nproc)" "$@" >>"$out/build.log" 2>&1; }

# The door is small, and all that converting needs.
if [ -n "$node" ]; then
  make metavoice || fail 'building metavoice.node'
  export METAVOICE_ADDON=$build/cmake/metavoice.node METAVOICE_LIBTORCH=$torch METAVOICE_CACHE=$build/cache
  if [ -z "$model" ]; then
    "$node" "$root/scripts/native-model.mjs" "$build/test-model" >>"$out/model.log" 2>&1 && model=$build/test-model || fail 'converting the test model'
  fi
  if [ -n "$bench" ]; then
    # Beside the compilers.
    (
      wait_for() { while [ ! -e "$1" ] && kill -0 "$writing" 2>/dev/null; do sleep 0.2; done; }
      wait_for "$build/full-size.done"
      for dtype in $dtypes; do
        "$node" --input-type=module -e '
          const [, root, from, to, dtype] = process.argv;
          const { convertModel } = await import(`${root}/dist/checkpoint/convert.js`);
          const start = performance.now();
          await convertModel(from, to, { dtype });
          console.log(`${dtype}: converted in ${((performance.now() - start) / 1000).toFixed(1)} s`);' \
          "$root" "$build/full-size" "$build/$dtype" "$dtype" && touch "$build/$dtype.done"
      done
    ) >>"$out/model.log" 2>&1 &
    converting=$!
  fi
fi

# One file that does not compile must not cost the others: they are linked without it.
link_the_rest() {
  local command word rest=()
  command=$(ninja -C "$build/cmake" -t commands metavoice_test_cases | tail -1)
  for word in $command; do
    if [[ $word != *.o || -e $build/cmake/$word ]]; then rest+=("$word"); else say "  left out: $word"; fi
  done
  (cd "$build/cmake" && eval "${rest[*]}") >>"$out/build.log" 2>&1
}
make metavoice_cuda || fail 'building the kernels'
if [ "$only" != bench ]; then
  make metavoice_kernel_tests || fail 'building the tests of the kernels'
  make metavoice_tests || { fail 'building metavoice_tests'; link_the_rest; }
fi
if [ -n "$node" ]; then make metavoice_engine || fail 'building libmetavoice'; fi
say 'built'
grep -E 'error:|undefined reference|FAILED:' "$out/build.log" | head -20

# ------------------------------------------------------------------------------------------ native tests

if [ "$only" != bench ] && [ -x "$build/cmake/metavoice_kernel_tests" ]; then
  "$build/cmake/metavoice_kernel_tests" >"$out/kernels.log" 2>&1 || fail 'tests of the kernels'
  say "kernels: $(tail -1 "$out/kernels.log")"
fi
# What a step costs, drawn ids included: by itself, so that nothing else is on the device.
if [ -n "$bench" ] && [ "$only" != bench ] && [ -x "$build/cmake/metavoice_kernel_tests" ]; then
  timeout 240 "$build/cmake/metavoice_kernel_tests" --bench --json "$out/kernels.json" >>"$out/kernels.log" 2>&1 || fail 'benchmark of the kernels'
  grep -E 'reads|drawn step|whole  step' "$out/kernels.log" | tee -a "$out/summary.txt"
fi
tests=$build/cmake/metavoice_tests
run_suite() {
  local suite=$1
  test_suite "$suite"
  { flock 9; { echo "==== $suite"; cat "$parts/${suite//[^A-Za-z0-9]/_}.log"; } >>"$out/native.log"; } 9>"$parts/lock"
}
test_suite() {
  local suite=$1 log name status
  name=${suite//[^A-Za-z0-9]/_} log=$parts/${suite//[^A-Za-z0-9]/_}.log
  # doctest takes commas for separators and stars for wildcards; names of suites have neither.
  timeout 240 "$tests" "--device=$device" "--model=$model" --report=1 "--test-suite=$suite" >"$log" 2>&1
  status=$?
  echo "$status $suite" >>"$parts/status"
  [ $status -eq 2 ] && return  # it never began: no device, no model
  [ $status -le 1 ] && ! grep -qE 'CUDA error|device-side assert' "$log" && return
  # It crashed, hung or lost the device: what came after says nothing. Each case for itself.
  "$tests" --device=cpu "--model=$model" "--test-suite=$suite" --list-test-cases 2>/dev/null | sed '/^\[doctest\]/d; /^=*$/d' >"$parts/$name.cases"
  while IFS= read -r case; do
    timeout 120 "$tests" "--device=$device" "--model=$model" --report=1 "--test-suite=$suite" "--test-case=${case//,/\\,}" >"$log.case" 2>&1
    status=$?
    { echo "---- alone ($status): $case"; cat "$log.case"; } >>"$log"
    [ $status -eq 0 ] || echo "$suite: $case (exit code $status)" >>"$parts/crashed"
  done <"$parts/$name.cases"
}
if [ "$only" != bench ] && [ -x "$tests" ]; then
  parts=$build/parts
  rm -rf "$parts"; mkdir -p "$parts"; : >"$parts/status"; : >"$parts/crashed"
  export -f run_suite test_suite
  export tests model parts out device
  "$tests" --device=cpu --list-test-suites | sed '/^\[doctest\]/d; /^=*$/d' >"$parts/suites"
  # Each takes about half a gigabyte of the device.
  xargs -d '\n' -P "$(($(nproc) < 12 ? $(nproc) : 12))" -I{} bash -c 'run_suite "$1"' _ {} <"$parts/suites"
  cases=$(cat "$parts"/*.log | sed -n 's/.*test cases: *\([0-9]*\) *| *\([0-9]*\) passed | *\([0-9]*\) failed.*/\1 \2 \3/p' | awk '{a += $1; p += $2; f += $3} END {printf "%d cases, %d passed, %d failed", a, p, f}')
  say "native tests on $device: $cases; $(wc -l <"$parts/suites") suites, $(awk '$1 != 0' "$parts/status" | wc -l) with failures"
  awk '$1 > 1' "$parts/status" | while read -r status suite; do say "  $suite ended with $status"; done
  sed 's/^/  alone: /' "$parts/crashed" | tee -a "$out/summary.txt"
  # Each failed case with its first words.
  awk '/^TEST SUITE: /{suite = substr($0, 13)} /^TEST CASE: /{name = substr($0, 13); said = 0}
       /ERROR:|FATAL ERROR/ {kind = $0; sub(/.*test\/native\//, "", kind); if (!said) {print "  " suite ": " name; said = 1} shown[name]++; if (shown[name] <= 4) print "      " substr(kind, 1, 240); more = 6; next}
       more > 0 && NF {if (shown[name] <= 4) print "        " substr($0, 1, 240); more--} !NF {more = 0}' "$parts"/*.log | tee -a "$out/summary.txt" | head -150
  awk '$1 != 0 {bad = 1} END {exit bad}' "$parts/status" || failures+=('native tests')
fi

# ------------------------------------------------------------------------------------------ the benchmark

if [ -n "$bench" ] && [ -n "$node" ]; then
  wait "$converting"
  say "random model: $(grep -c ": converted in" "$out/model.log") dtypes converted"
  for dtype in $dtypes; do
    [ -e "$build/$dtype.done" ] || { fail "no model in $dtype"; continue; }
    timeout 240 "$node" "$root/bench/run.mjs" --device "$device" --dtype "$dtype" --model "$build/$dtype" --seconds 10 ${callers:+--callers} --anyway \
      --out "$out/bench-$dtype.json" >"$build/bench-$dtype.log" 2>&1 || fail "benchmark in $dtype"
    say "benchmark in $dtype"
    tee -a "$out/bench.log" <"$build/bench-$dtype.log" | tail -60
    [ -n "$steps" ] || continue
    timeout 240 "$node" "$root/bench/run.mjs" --steps-only --device "$device" --dtype "$dtype" --model "$build/$dtype" --quantization "$steps" --anyway \
      --out "$out/steps-$dtype.json" >"$build/steps-$dtype.log" 2>&1 || fail "decode steps in $dtype"
    tee -a "$out/bench.log" <"$build/steps-$dtype.log" | tail -60
  done
fi

say "$([ ${#failures[@]} -eq 0 ] && echo 'all is well' || printf 'failed: %s' "${failures[*]}")"
[ ${#failures[@]} -eq 0 ]
