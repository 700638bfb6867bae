#!/usr/bin/env bash
# demo.sh GNEISS FOLDER: the whole way on a generated graph, in minutes: generate, prepare, train with the features
# read from disk, in a memory control group smaller than the features; then the same model without the graph.
set -euo pipefail
gneiss=${1:?usage: demo.sh GNEISS FOLDER}
folder=${2:?usage: demo.sh GNEISS FOLDER}
cap=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/support" && pwd)/memory_cap.sh
dataset=$folder/demo.gneiss

say() { printf '\n%s\n' "$*"; }
run() { printf '$ gneiss %s\n' "$*"; "$gneiss" "$@"; }

rm -rf "$folder"
mkdir -p "$folder"
say "1. A graph of 1,000,000 nodes with 512 MB of features; the classes show in features and in edges."
run generate "$dataset" --nodes 1000000 --avg-degree 15 --features 128 --classes 32 --train-share 0.1 --seed 7

say "2. Sample all mini-batches ahead, plan where each row will come from, pack what is read from disk."
run prepare --dataset "$dataset" --name P --fanout 10,10 --batch-size 1000 --cpu-cache 100MiB --memory 1GiB

train=(train --dataset "$dataset" --preparation P --model sage --hidden 128 --epochs 5 --lr 0.003 --seed 1
  --memory 350MiB --run "$folder/run" --summary "$folder/train.json")
say "3. Train in 400 MiB of memory, page cache included: less than the features alone."
printf '$ gneiss %s\n' "${train[*]}"
status=0
bash "$cap" --peak "$folder/peak" --cold "$dataset" 400MiB "$gneiss" "${train[@]}" || status=$?
if [ "$status" -eq 77 ]; then
  echo "Here the cap cannot be enforced; training without it."
  "$gneiss" "${train[@]}"
elif [ "$status" -ne 0 ]; then
  exit "$status"
else
  awk '{ printf "Peak memory of the group, page cache included: %.0f MiB of 400 MiB\n", $1 / 1048576 }' "$folder/peak"
fi
say "All of it lies in $folder; 'make clean' removes it."
