#!/usr/bin/env bash
# Compares `gneiss bench io` with fio on the same file: 5 alternating runs of each case, medians and ratio.
#
# usage: fio_compare.sh GNEISS FOLDER [SIZE] [SECONDS] [RUNS]      (1G, 3 and 5 by default)
# Who goes first alternates too, and every run follows a pause as long as itself: drives in clouds let a quiet
# minute be spent in a burst, and fio's slower start would be such a pause for fio alone.
#
# Both read into huge pages, as gneiss always does: 1 MiB of small pages is more than a request to many drives may
# name, and reads at 0.6 of the speed here. fio takes reserved ones only, so root reserves 64 MiB for the time being.
#
# Exits with 1 when a ratio is further than 10 % from 1. Needs fio, jq and O_DIRECT in FOLDER.
set -euo pipefail
gneiss=${1:?usage: fio_compare.sh GNEISS FOLDER [SIZE] [SECONDS] [RUNS]}
folder=${2:?which folder on the drive?}
size=${3:-1G}
seconds=${4:-3}
runs=${5:-5}

file=$(mktemp "$folder/fio-compare-XXXXXX")
reserve=/proc/sys/vm/nr_hugepages
reserved=$(cat "$reserve")
trap 'rm -f "$file" "$file.json"; echo "$reserved" 2>/dev/null >"$reserve" || true' EXIT
memory=(--mem=malloc)
if echo $((reserved + 32)) 2>/dev/null >"$reserve" && [ "$(cat "$reserve")" -ge $((reserved + 32)) ]; then
  memory=(--mem=mmaphuge --hugepage-size=2M)
else
  echo "no huge pages can be reserved for fio (run as root): it reads into small ones, and large blocks are no comparison"
fi
# Random bytes, written around the cache: a drive may treat zeros as holes and compress the rest.
fio --name=fill --filename="$file" --size="$size" --rw=write --bs=4M --direct=1 --refill_buffers --end_fsync=1 \
  --output=/dev/null

run_fio() { # rw block depth → bytes per second
  sleep "$seconds"
  fio --name=read --filename="$file" --size="$size" --rw="$1" --bs="$2" --iodepth="$3" --ioengine=io_uring \
    --direct=1 --fixedbufs=1 --registerfiles=1 --time_based --runtime="$seconds" --readonly --randrepeat=0 \
    "${memory[@]}" --output-format=json 2>/dev/null | jq '.jobs[0].read.bw_bytes'
}
run_gneiss() { # pattern block depth → bytes per second
  sleep "$seconds"
  "$gneiss" bench io --path "$file" --engine io_uring --pattern "$1" --block-size "$2" --queue-depth "$3" \
    --seconds "$seconds" --summary "$file.json" >/dev/null
  jq '.measurements[0].bytes_per_second' "$file.json"
}
median() { sort -g | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

echo "$(uname -sr), $(nproc) cores, fio $(fio --version | sed 's/fio-//'), file of $size in $folder," \
  "$seconds s a run, $runs alternating runs, O_DIRECT, io_uring"
printf '%-32s %14s %14s %8s\n' case 'fio MB/s' 'gneiss MB/s' ratio
worst=0
while read -r pattern rw block fio_block depth; do
  fio_rates=() gneiss_rates=()
  for ((run = 0; run < runs; run++)); do
    ((run % 2)) || fio_rates+=("$(run_fio "$rw" "$fio_block" "$depth")")
    gneiss_rates+=("$(run_gneiss "$pattern" "$block" "$depth")")
    ((run % 2)) && fio_rates+=("$(run_fio "$rw" "$fio_block" "$depth")")
  done
  fio_median=$(printf '%s\n' "${fio_rates[@]}" | median)
  gneiss_median=$(printf '%s\n' "${gneiss_rates[@]}" | median)
  awk -v name="$pattern $block depth $depth" -v f="$fio_median" -v g="$gneiss_median" \
    'BEGIN {printf "%-32s %14.1f %14.1f %8.3f\n", name, f / 1e6, g / 1e6, g / f; exit (g / f < 0.9 || g / f > 1.1)}' ||
    worst=1
done <<'CASES'
sequential read 1MiB 1M 8
sequential read 1MiB 1M 32
random randread 4KiB 4k 128
CASES
exit $worst
