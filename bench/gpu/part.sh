#!/usr/bin/env bash
# part.sh NAME: one part of bench/gpu.sh, which says in the environment where programs and results lie.
# Ends with 77 after a line "SKIPPED: why" where it cannot be measured here.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
skip() { echo "SKIPPED: $*"; exit 77; }
needs() { [ -x "$GPU_BIN/$1" ] || skip "$1 was not built"; }
needs_torch() { "$GPU_PYTHON" -c 'import torch' || skip "$GPU_PYTHON has no PyTorch"; }
# One of two values: of the real size, of the tiny one.
sized() { [ -n "$GPU_TINY" ] && echo "$2" || echo "$1"; }
threads=$(nproc)
# Threads that spin at barriers take the processor from the one that feeds the device.
export OMP_WAIT_POLICY=passive

probe() {
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$GPU_RESULTS/driver.txt"
  else
    echo "there is no nvidia-smi"
  fi
  [ -x "$GPU_BIN/bench_gpu" ] && "$GPU_BIN/bench_gpu" --probe | tee "$GPU_RESULTS/device.json"
  needs gneiss
  # Which reads the drive takes, and how fast it is at its best: each engine and access by itself, for one may be refused.
  local engine access
  for access in direct buffered; do
    for engine in io_uring pread; do
      "$GPU_BIN/gneiss" bench io --path "$GPU_SCRATCH" --size "$(sized 1GiB 64MiB)" --seconds "$(sized 0.5 0.1)" \
        --engine "$engine" --access "$access" --pattern sequential --queue-depth 8,32 \
        --summary "$GPU_RESULTS/io_${engine}_$access.json" ||
        echo "$engine, $access: refused here"
    done
  done
  return 0
}

tests() {
  needs test_gpu
  "$GPU_BIN/test_gpu" | tee "$GPU_RESULTS/tests.txt"
}

operators() {
  needs bench_gpu
  "$GPU_BIN/bench_gpu" --json "$GPU_RESULTS/bench_gpu.json" ${GPU_TINY:+--tiny}
}

products() {
  needs_torch
  [ -f "$GPU_RESULTS/bench_gpu.json" ] || skip "operators left no shapes"
  "$GPU_PYTHON" bench/gpu/torch_products.py "$GPU_RESULTS/bench_gpu.json" "$GPU_RESULTS/torch_products.json" \
    --seconds "$(sized 0.03 0.0001)"
}

step() {
  needs bench_training_step
  needs_torch
  local size=(--rounds 2 --steps 60)
  [ -n "$GPU_TINY" ] &&
    size=(--rounds 1 --steps 2 --nodes 5000 --fanout 3,3,3 --batch-size 32 --hidden 32 --batches 2)
  # shellcheck disable=SC2086
  "$GPU_PYTHON" bench/training_step.py "$GPU_BIN" "$GPU_SCRATCH/step" --device cuda --python "$GPU_PYTHON" \
    --models ${GPU_MODELS:-sage} --threads "$threads" --memory 16GiB "${size[@]}" --out "$GPU_RESULTS/step.md" \
    --json "$GPU_RESULTS/step.json"
}

# A generated graph, from the drive with a tenth of the rows on the device and a tenth in memory, and with all rows on the
# device; one epoch of the first on the CPU, whose loss must be the same but for rounding.
graph() {
  needs gneiss
  local graph=$GPU_SCRATCH/graph.gneiss nodes row_bytes=512
  nodes=$(sized 2000000 3000)
  local tenth=$((nodes * row_bytes / 10)) memory
  memory=$(sized 24GiB 4GiB)
  run() { echo "\$ gneiss $*"; "$GPU_BIN/gneiss" "$@"; }
  local sampled=(--fanout "$(sized 10,10,10 3,3,3)" --batch-size "$(sized 1024 64)" --sample-epochs 1 --memory "$memory")
  local trained=(--hidden "$(sized 256 16)" --eval-every 0 --memory "$memory" --force)
  run generate "$graph" --nodes "$nodes" --avg-degree 15 --features 128 --classes 32 --train-share "$(sized 0.01 0.1)" \
    --valid-share 0.0005 --test-share 0.0005 --seed 7 || return
  run prepare --dataset "$graph" --name tiers --gpu-cache $tenth --cpu-cache $tenth "${sampled[@]}" \
    --summary "$GPU_RESULTS/prepare_tiers.json" || return
  run prepare --dataset "$graph" --name device --gpu-cache $((tenth * 11)) "${sampled[@]}" \
    --summary "$GPU_RESULTS/prepare_device.json" || return
  local status=0
  run train --dataset "$graph" --preparation tiers --device cuda --epochs 3 "${trained[@]}" --run "$GPU_SCRATCH/run1" \
    --summary "$GPU_RESULTS/train_tiers.json" || status=$?
  run train --dataset "$graph" --preparation device --device cuda --epochs 3 "${trained[@]}" --run "$GPU_SCRATCH/run2" \
    --summary "$GPU_RESULTS/train_device.json" || status=$?
  run train --dataset "$graph" --preparation tiers --device cpu --epochs 1 "${trained[@]}" --run "$GPU_SCRATCH/run3" \
    --summary "$GPU_RESULTS/train_cpu.json" || status=$?
  rm -rf "$graph"
  return $status
}

accuracy() {
  needs gneiss
  [ -n "$GPU_DATASETS" ] || skip "no datasets are at hand"
  "$GPU_PYTHON" bench/gpu/device_accuracy.py --datasets "$GPU_DATASETS" --gneiss "$GPU_BIN/gneiss" \
    --work "$GPU_SCRATCH/accuracy" --json "$GPU_RESULTS/accuracy.json" --threads "$threads" \
    ${GPU_TINY:+--epochs 1 --seeds 2 cora}
}

sanitizer() {
  needs bench_gpu
  local tool
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) ||
    skip "there is no compute-sanitizer"
  local checked=(--target-processes all --error-exitcode 9) status=0
  "$tool" "${checked[@]}" "$GPU_BIN/bench_gpu" --tiny || status=$?
  if [ -x "$GPU_BIN/test_gpu" ]; then "$tool" "${checked[@]}" "$GPU_BIN/test_gpu" || status=$?; fi
  return $status
}

case ${1:-} in
  probe | tests | operators | products | step | graph | accuracy | sanitizer) "$1" ;;
  *) echo "usage: part.sh probe|tests|operators|products|step|graph|accuracy|sanitizer" >&2; exit 2 ;;
esac
