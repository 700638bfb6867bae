#!/usr/bin/env bash
# gpu_bundle.sh FOLDER: packs what bench/gpu.sh needs on a machine with a GPU and nothing of ours: FOLDER/gpu.tar.gz.
#
#   BUILD=build/release     where the programs were built
#   GNEISS_DATASETS=DIR     graphs to take along for the accuracies, as far as they are small
#   BUNDLE_MIB=48           the most that the archive may take: what travels has a limit, the sources count too
#
# Libraries: all that the programs are linked with, libstdc++ and libgomp among them, for the machine has none of them or
# others than those they were built with. Not the C library: it belongs to the loader, whose path is fixed in a program,
# and two of them in one process do not go together; the machine's must be as new as this one's. Not libcuda, which is
# the driver's, nor cuBLAS, which is large and comes with CUDA or with PyTorch: gpu.sh looks for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:?usage: gpu_bundle.sh FOLDER}
build=${BUILD:-build/release}
most=$((${BUNDLE_MIB:-48} << 20))

content=$(mktemp -d)
trap 'rm -rf "$content"' EXIT
mkdir -p "$content/programs" "$content/lib" "$content/datasets" "$folder"

for program in gneiss bench_gpu bench_training_step test_gpu; do
  if [ ! -x "$build/$program" ]; then
    echo "$build/$program is not built; it is left out"
    continue
  fi
  strip -o "$content/programs/$program" "$build/$program"
done
[ -n "$(ls "$content/programs")" ] || { echo "nothing to pack; build first: make" >&2; exit 1; }

glibc='^(ld-linux.*|libc|libm|libpthread|libdl|librt|libresolv|libutil|libnsl|libanl|libmvec|libcuda)\.so'
for program in "$content"/programs/*; do ldd "$program"; done | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u |
  while read -r name path; do
    [[ $name =~ $glibc ]] && continue
    strip --strip-unneeded -o "$content/lib/$name" "$(readlink -f "$path")"
  done
getconf GNU_LIBC_VERSION >"$content/needs"

# The archive as it would be, for features compress well or not at all.
pack() { tar -C "$content" -czf "$1" .; }
pack "$folder/gpu.tar.gz"
for name in cora citeseer amazon_computers; do
  source=${GNEISS_DATASETS:-/nonexistent}/$name
  [ -f "$source/node_feat.npy" ] || continue
  mkdir "$content/datasets/$name"
  cp "$source"/{edge_index,node_feat,node_label,train_idx,val_idx,test_idx}.npy "$content/datasets/$name"
  pack "$folder/gpu.tar.gz.next"
  if [ "$(stat -c %s "$folder/gpu.tar.gz.next")" -gt "$most" ]; then
    echo "$name is left out: with it the archive would be larger than $((most >> 20)) MiB"
    rm -rf "${content:?}/datasets/$name" "$folder/gpu.tar.gz.next"
  else
    mv "$folder/gpu.tar.gz.next" "$folder/gpu.tar.gz"
  fi
done

bytes=$(stat -c %s "$folder/gpu.tar.gz")
names() { find "$1" -mindepth 1 -maxdepth 1 -printf '%f '; }
echo "$folder/gpu.tar.gz: $((bytes >> 20)) MiB; programs: $(names "$content/programs"); datasets:" \
  "$(names "$content/datasets"); needs $(cat "$content/needs") or newer"
[ "$bytes" -le "$most" ] || { echo "that is more than $((most >> 20)) MiB" >&2; exit 1; }
