#!/bin/sh
# Runs FFmpeg or ffprobe on a file that nobody vouches for:
#
#   launch.sh <program> <worker pid> <CPU seconds> <largest file in 512-byte blocks> <KiB of memory> <processes> <argument>...
#
# Limits hold in the kernel, also when the worker is gone. The environment (which holds the worker's secrets) is left behind, and so
# is the network, where this user may leave it (as root, or in a user namespace; a container's runtime may forbid both).
# The program keeps the process id of this script, so that whoever started it can kill it.
set -eu

case $1 in
  # fluent-ffmpeg asks what FFmpeg can do (`-formats`, `-encoders`) and cannot be told to put our arguments first.
  -*) set -- "${FFMPEG_PATH:-ffmpeg}" "$PPID" 10 2048 3145728 0 "$@" ;;
esac
program=$1 worker=$2 cpu=$3 blocks=$4 memory=$5 processes=$6
shift 6

# A limit that cannot be set is one that this system lacks, or a lower one that already holds.
limit() { ulimit "$@" 2>/dev/null || :; }
limit -c 0
limit -t "$cpu"
limit -f "$blocks"
limit -v "$memory"
# The kernel counts every thread of the user here, not only those of this program.
if [ "$processes" != 0 ]; then prlimit --pid $$ --nproc="$processes" 2>/dev/null || :; fi

# A namespace of its own has no network but a loopback that is down.
alone=
if unshare -n true 2>/dev/null; then
  alone='unshare -n'
elif unshare -c -n true 2>/dev/null; then
  alone='unshare -c -n'
fi

# The kernel kills the program when the worker dies. A worker that died before this was asked for shows as another parent.
if setpriv --pdeathsig KILL true 2>/dev/null; then
  # shellcheck disable=SC2016 # the inner shell expands these
  # shellcheck disable=SC2086 # nothing or several words
  exec $alone setpriv --pdeathsig KILL --no-new-privs \
    sh -c '[ "$PPID" = "$0" ] || exit 1; exec env -i PATH="$PATH" "$@"' "$worker" "$program" "$@"
fi
# shellcheck disable=SC2086
exec $alone env -i PATH="$PATH" "$program" "$@"
