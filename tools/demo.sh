#!/usr/bin/env bash
# demo.sh GNEISS FOLDER: the whole way on a generated graph, in minutes: generate, prepare, train with the features
# read from disk in a memory control group smaller than they are, and measure the drive in the same run.
#
# FOLDER is made, and removed at the end with all that is in it (some 6 GB) unless KEEP=1. A control group
# needs root, or systemd's user manager; without one the training goes on uncapped, and that is said.
set -euo pipefail
gneiss=${1:?usage: demo.sh GNEISS FOLDER}
folder=${2:?usage: demo.sh GNEISS FOLDER}
cap=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/support" && pwd)/memory_cap.sh
dataset=$folder/demo.gneiss
marker=$folder/made-by-gneiss-demo
cap_mib=400

say() { printf '\n%s\n' "$*"; }
show() { printf '$ gneiss %s\n' "$*"; }
run() { show "$@"; "$gneiss" "$@"; }
# The number of a top-level key of a summary; the sum of a key over all epochs of a training summary.
value() { sed -n "s/^  \"$2\": \([0-9.e+-]*\),\{0,1\}\$/\1/p" "$1"; }
over_epochs() { awk -v key="\"$2\":" '/^      / && $1 == key { sum += $2 } END { print sum }' "$1"; }
clean_up() {
  if [ "${KEEP:-}" = 1 ]; then
    say "All of it lies in $folder."
  else
    rm -rf "$folder"
    say "$folder is removed; KEEP=1 keeps it."
  fi
}

# Never removes a folder that this script has not made.
if [ -e "$folder" ] && [ ! -e "$marker" ]; then
  echo "demo.sh: $folder exists; give a folder that does not" >&2
  exit 2
fi
rm -rf "$folder"
mkdir -p "$folder"
touch "$marker"
trap clean_up EXIT
SECONDS=0

say "1. A graph of 1,000,000 nodes with 512 MB of features; the classes show in features and in edges."
run generate "$dataset" --nodes 1000000 --avg-degree 15 --features 128 --classes 32 --train-share 0.1 --seed 7 \
  --summary "$folder/generate.json"

say "2. Sample all mini-batches ahead, plan where each row will come from, pack what is read from disk."
run prepare --dataset "$dataset" --name P --fanout 10,10 --batch-size 1000 --sample-epochs 1 --cpu-cache 100MiB --memory 1GiB \
  --summary "$folder/prepare.json"

train=(train --dataset "$dataset" --preparation P --model sage --hidden 128 --epochs 5 --lr 0.003 --seed 1
  --memory 350MiB --run "$folder/run" --summary "$folder/train.json")
say "3. Train in $cap_mib MiB of memory, page cache included: less than the features alone."
show "${train[@]}"
status=0
bash "$cap" --peak "$folder/peak" --cold "$dataset" "${cap_mib}MiB" "$gneiss" "${train[@]}" || status=$?
if [ "$status" -eq 77 ]; then
  echo "No memory control group can be made here; training without the cap, within --memory all the same."
  "$gneiss" "${train[@]}"
  memory="peak memory $(value "$folder/train.json" peak_memory_bytes | awk '{ printf "%.0f", $1 / 1048576 }') MiB, not enforced"
elif [ "$status" -ne 0 ]; then
  exit "$status"
else
  memory="peak memory $(awk '{ printf "%.0f", $1 / 1048576 }' "$folder/peak") MiB of $cap_mib MiB, page cache included"
fi

say "4. What the drive gives in the same minutes, read in order and nothing else."
run bench io --path "$folder" --size 512MiB --seconds 1 --engine auto --pattern sequential --queue-depth 8,32 \
  --summary "$folder/io.json"

say "In short"
awk -v features="$(value "$folder/generate.json" best_feature_accuracy)" \
  -v best="$(value "$folder/generate.json" best_accuracy)" \
  -v test="$(value "$folder/train.json" test_accuracy)" \
  -v seconds="$(over_epochs "$folder/train.json" seconds)" \
  -v computed="$(over_epochs "$folder/train.json" compute_seconds)" \
  -v reading="$(over_epochs "$folder/train.json" drive_busy_seconds)" \
  -v bytes="$(value "$folder/train.json" bytes_read)" \
  -v drive="$(value "$folder/io.json" sequential_bytes_per_second)" \
  -v memory="$memory" -v total="$SECONDS" 'BEGIN {
    printf "  accuracy  %.1f %% on the test nodes; the best from features alone is %.1f %%, of all %.1f %%\n",
      100 * test, 100 * features, 100 * best
    printf "  memory    %s\n", memory
    printf "  time      %.1f s an epoch; %.0f %% of the epoch was computation; the drive was read at %.2f GB/s, %.0f %% of its speed (%.2f GB/s)\n",
      seconds / 5, 100 * computed / seconds, bytes / reading / 1e9, 100 * bytes / reading / drive, drive / 1e9
    printf "  in all    %d min %02d s\n", total / 60, total % 60
  }'
