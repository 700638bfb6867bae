#!/usr/bin/env bash
# memory_cap.sh [--peak FILE] [--cold PATH]... LIMIT COMMAND...
#
# Runs COMMAND in a memory control group of LIMIT bytes (or 400MiB, 2GiB), page cache included, and ends with
# COMMAND's exit code. --peak writes the most bytes the group ever held, page cache included. --cold drops a
# file, or all files of a folder, from the page cache first: pages that someone else has read are not counted.
#
# Exit code 77 and a line that begins with "SKIPPED: " when no control group can be made; a COMMAND that
# the cap kills ends with 137 and a line that says so. Control groups of version 1 and 2; root, or a systemd
# that manages a group for the user.
set -euo pipefail

peak_file=
while [ $# -gt 0 ]; do
  case $1 in
    --peak) peak_file=$2; shift 2 ;;
    --cold)
      find "$2" -type f -exec dd if={} iflag=nocache count=0 status=none \;
      shift 2 ;;
    *) break ;;
  esac
done
if [ $# -lt 2 ]; then
  echo "usage: memory_cap.sh [--peak FILE] [--cold PATH]... LIMIT COMMAND..." >&2
  exit 2
fi
case $1 in
  *KiB) limit=$((${1%KiB} * 1024)) ;;
  *MiB) limit=$((${1%MiB} * 1048576)) ;;
  *GiB) limit=$((${1%GiB} * 1073741824)) ;;
  *[!0-9]* | '') echo "memory_cap.sh: the limit is bytes, or a number with KiB, MiB or GiB, not '$1'" >&2; exit 2 ;;
  *) limit=$1 ;;
esac
shift

report() {  # the most bytes held, the command's exit code, how often the cap killed
  if [ -n "$peak_file" ]; then echo "$1" >"$peak_file"; fi
  if [ "$3" -gt 0 ]; then
    echo "memory_cap.sh: killed by the cap of $limit bytes: $command_line" >&2
    exit 137
  fi
  exit "$2"
}
command_line=$*

own_group() { awk -F: -v controller="$1" '$2 == controller { print $3; exit }' /proc/self/cgroup; }

make_group_v1() {
  local root parent own
  root=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
  [ -n "$root" ] || return 1
  own=$(awk -F: '$2 ~ /(^|,)memory(,|$)/ { print $3; exit }' /proc/self/cgroup)
  for parent in "$root$own" "$root"; do  # in a container the own path may be the host's
    group=$(mktemp -d "${parent%/}/gneiss-cap.XXXXXX" 2>/dev/null) || continue
    if echo "$limit" 2>/dev/null >"$group/memory.limit_in_bytes"; then
      # Swap would hide what is over the cap.
      echo "$limit" 2>/dev/null >"$group/memory.memsw.limit_in_bytes" || true
      peak_name=memory.max_usage_in_bytes kills_name=memory.oom_control
      return 0
    fi
    rmdir "$group" 2>/dev/null || true
  done
  return 1
}

make_group_v2() {
  local root parent
  root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  [ -n "$root" ] || return 1
  for parent in "$root$(own_group '')" "$root"; do
    group=$(mktemp -d "${parent%/}/gneiss-cap.XXXXXX" 2>/dev/null) || continue
    if [ -f "$group/memory.max" ] && echo "$limit" 2>/dev/null >"$group/memory.max"; then
      echo 0 2>/dev/null >"$group/memory.swap.max" || true
      peak_name=memory.peak kills_name=memory.events
      return 0
    fi
    rmdir "$group" 2>/dev/null || true
  done
  return 1
}

if make_group_v1 || make_group_v2; then
  cleanup() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      rmdir "$group" 2>/dev/null && return
      sleep 0.1
    done
    echo "memory_cap.sh: $group still holds processes and stays" >&2
  }
  trap cleanup EXIT
  status=0
  (
    echo "$BASHPID" >"$group/cgroup.procs" || { echo "SKIPPED: may not enter the control group $group" >&2; exit 77; }
    exec "$@"
  ) || status=$?
  peak=$(cat "$group/$peak_name" 2>/dev/null || echo 0)
  kills=$(awk '$1 == "oom_kill" { print $2 }' "$group/$kills_name")
  report "$peak" "$status" "${kills:-0}"
fi

# A desktop: systemd makes the group, and the shell in it reads its own peak before the group goes.
manager=(systemd-run --quiet --scope --collect -p "MemoryMax=$limit" -p MemorySwapMax=0)
[ "$(id -u)" -eq 0 ] || manager+=(--user)
if command -v systemd-run >/dev/null && "${manager[@]}" true 2>/dev/null; then
  result=$(mktemp)
  trap 'rm -f "$result"' EXIT
  # shellcheck disable=SC2016
  "${manager[@]}" bash -c '
    result=$1; shift; status=0
    "$@" || status=$?
    group=/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)
    kills=$(sed -n "s/^oom_kill //p" "$group/memory.events")
    echo "$(cat "$group/memory.peak" 2>/dev/null || echo 0) $status ${kills:-0}" >"$result"' _ "$result" "$@" || true
  read -r peak status kills <"$result" || { peak=$limit status=137 kills=1; }
  report "$peak" "$status" "$kills"
fi

echo "SKIPPED: no memory control group can be made here (be root, or have systemd's user manager): $command_line" >&2
exit 77
