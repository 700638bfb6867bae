#!/usr/bin/env bash
# gpu.sh [--tiny] [--parts NAME,...] [BUNDLE]: all that is measured on a CUDA device, in one call of less than 9 minutes.
#
#   BUNDLE            gpu.tar.gz of gpu_bundle.sh; without it the programs of BUILD=build/release
#   --parts           of probe tests operators products step graph accuracy sanitizer; all by default
#   --tiny            so small that times mean nothing: shows that all of it runs
#   OUT=build/gpu     where gpu.md, gpu.json and log.txt go
#   GPU_WORK=DIR      for graphs and batches, 12 GB; default: a folder of its own in TMPDIR, gone afterwards
#   GPU_SECONDS=520   for all of it; what would come later is left out
#   GPU_PYTHON        the python3 that has PyTorch and PyG
#
# Each part (bench/gpu/part.sh) has a limit, and one that fails stops no other. The table comes last, and what is missing
# in it is said there. Ends with 0; with 77, after the parts that need none, where there is no device.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
wanted=probe,tests,operators,products,step,graph,accuracy,sanitizer
bundle=
export GPU_TINY=
while [ $# -gt 0 ]; do
  case $1 in
    --tiny) GPU_TINY=1 ;;
    --parts) wanted=${2:?--parts needs a list}; shift ;;
    -*) echo "gpu.sh has no option $1; see its head" >&2; exit 2 ;;
    *) bundle=$1 ;;
  esac
  shift
done
deadline=$((SECONDS + ${GPU_SECONDS:-520}))

export GPU_PYTHON=${GPU_PYTHON:-$(command -v python3)}
work=$(mktemp -d "${GPU_WORK:-${TMPDIR:-/tmp}}/gneiss_gpu.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
out=${OUT:-build/gpu}
mkdir -p "$out" "$work/bin" "$work/results" "$work/bundle"
log=$out/log.txt
: >"$log"

programs=$(realpath "${BUILD:-build/release}")
libraries=
if [ -n "$bundle" ]; then
  tar -C "$work/bundle" -xzf "$bundle" || { echo "$bundle cannot be unpacked; make it again: bench/gpu_bundle.sh" >&2; exit 1; }
  programs=$work/bundle/programs
  libraries=$work/bundle/lib
  [ -n "$(ls "$work/bundle/datasets")" ] && GNEISS_DATASETS=$work/bundle/datasets
fi
# cuBLAS lies where CUDA was installed, or in a package of Python's that PyTorch brought.
cublas_folders() {
  ls -d /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib /usr/local/nvidia/lib64
  "$GPU_PYTHON" - <<'P'
import glob, os, sys
for base in sys.path:
    for path in glob.glob(os.path.join(base, "nvidia", "*", "lib", "libcublas.so.*")):
        print(os.path.dirname(path))
P
}
for folder in $(cublas_folders 2>/dev/null); do libraries+=${libraries:+:}$folder; done
# Only our programs see these libraries: PyTorch has its own.
for program in gneiss bench_gpu bench_training_step test_gpu; do
  [ -x "$programs/$program" ] || continue
  cat >"$work/bin/$program" <<W
#!/bin/sh
LD_LIBRARY_PATH='$libraries'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec '$programs/$program' "\$@"
W
  chmod +x "$work/bin/$program"
done
export GPU_BIN=$work/bin GPU_RESULTS=$work/results GPU_SCRATCH=$work GPU_DATASETS=${GNEISS_DATASETS:-}

last_line() { grep -v '^ *$' "$work/part.log" | tail -n 1 | cut -c 1-160; }

# part NAME SECONDS: runs it, and keeps in parts.tsv how it ended.
part() {
  local name=$1 limit=$2 left=$((deadline - SECONDS)) begin=$SECONDS outcome
  [[ ,$wanted, == *,$name,* ]] || return 0
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 5 ]; then
    outcome="left out: no time was left"
  else
    echo "== $name, $limit s at most" | tee -a "$log"
    timeout -k 5 "$limit" bash bench/gpu/part.sh "$name" >"$work/part.log" 2>&1
    local status=$?
    tail -c 4000000 "$work/part.log" >>"$log"
    tail -n 3 "$work/part.log"
    case $status in
      0) outcome="done" ;;
      77) outcome="left out: $(last_line | sed 's/^SKIPPED: //')" ;;
      124 | 137) outcome="stopped after its $limit s" ;;
      *) outcome="failed with $status: $(last_line)" ;;
    esac
  fi
  printf '%s\t%s\t%s\n' "$name" "$((SECONDS - begin))" "$(tr '\t|' '  ' <<<"$outcome")" >>"$work/results/parts.tsv"
}

part probe 60
has_device=
grep -qs '"usable":true' "$work/results/device.json" && has_device=1
if [ -z "$has_device" ] && [[ ,$wanted, != *,probe,* ]]; then
  "$work/bin/bench_gpu" --probe >"$work/results/device.json" 2>>"$log" && has_device=1
fi
if [ -n "$has_device" ]; then
  part tests 90
  part operators 75
  part products 60
  part step 170
  part graph 150
  part accuracy 100
  part sanitizer 90
fi
"$GPU_PYTHON" bench/gpu/report.py "$work/results" "$out"
if [ -z "$has_device" ]; then
  reason=$(sed -n 's/.*"reason":"\([^"]*\)".*/\1/p' "$work/results/device.json" 2>/dev/null)
  echo "SKIPPED: no CUDA device to measure here: ${reason:-bench_gpu was not built or does not start; see $log}"
  exit 77
fi
