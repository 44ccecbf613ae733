#!/bin/sh
# Runs FFmpeg or ffprobe on a file that nobody vouches for:
#
#   launch.sh <program> <worker pid> <CPU seconds> <largest file in 512-byte blocks> <argument>...
#
# Limits hold in the kernel, also when the worker is gone. The environment (which holds the worker's secrets) is left behind.
# The program keeps the process id of this script, so that whoever started it can kill it.
set -eu

case $1 in
  # fluent-ffmpeg asks what FFmpeg can do (`-formats`, `-encoders`) and cannot be told to put our arguments first.
  -*) set -- "${FFMPEG_PATH:-ffmpeg}" "$PPID" 10 2048 "$@" ;;
esac
program=$1 worker=$2 cpu=$3 blocks=$4
shift 4

# A limit that cannot be set is one that this system lacks, or a lower one that already holds.
limit() { ulimit "$@" 2>/dev/null || :; }
limit -c 0
limit -t "$cpu"
limit -f "$blocks"
# Address space in KiB: 16 reference frames of 4096 by 4096 pixels, 10 bits in 4:4:4, took 2 GiB.
limit -v 3145728

# The kernel kills the program when the worker dies. A worker that died before this was asked for shows as another parent.
if setpriv --pdeathsig KILL true 2>/dev/null; then
  # shellcheck disable=SC2016 # the inner shell expands these
  exec setpriv --pdeathsig KILL --no-new-privs \
    sh -c '[ "$PPID" = "$0" ] || exit 1; exec env -i PATH="$PATH" "$@"' "$worker" "$program" "$@"
fi
exec env -i PATH="$PATH" "$program" "$@"
