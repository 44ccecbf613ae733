#!/bin/sh
# Runs FFmpeg or ffprobe on a file that nobody vouches for, in the folder of its job:
#
#   launch.sh <program> <worker pid> <CPU seconds> <largest file in 512-byte blocks> <KiB of memory> <processes> <sandbox> <argument>...
#
# Limits hold in the kernel, also when the worker is gone. The environment (which holds the worker's secrets) is left behind, and so
# is the network, where this user may leave it (as root, or in a user namespace; a container's runtime may forbid both).
# In the sandbox `bubblewrap` the program sees nothing but itself, its libraries and the folder of its job; `none` is without that.
# What this runs keeps the process id of this script, so that whoever started it can kill it.
set -eu

case $1 in
  # fluent-ffmpeg asks what FFmpeg can do (`-formats`, `-encoders`) and cannot be told to put our arguments first.
  -*) set -- "${FFMPEG_PATH:-ffmpeg}" "$PPID" 10 2048 3145728 0 none "$@" ;;
esac
program=$1 worker=$2 cpu=$3 blocks=$4 memory=$5 processes=$6 sandbox=$7
shift 7

# A limit that cannot be set is one that this system lacks, or a lower one that already holds.
limit() { ulimit "$@" 2>/dev/null || :; }
limit -c 0
limit -t "$cpu"
limit -f "$blocks"
limit -v "$memory"
# The kernel counts every thread of the user here, not only those of this program.
if [ "$processes" != 0 ]; then prlimit --pid $$ --nproc="$processes" 2>/dev/null || :; fi

alone=
if [ "$sandbox" = bubblewrap ]; then
  path=$(command -v "$program") || exit 127
  # Who may write no file may not make any, either. The upload stays as it is in any case.
  folder=--bind
  if [ "$blocks" = 0 ]; then folder=--ro-bind; fi
  job=$(pwd -P)
  set -- "$path" "$@"
  # bwrap itself has moments in which it can be killed and leave behind what it began. So the program, and all beside it, is killed
  # from within, too, when the other end of our input is closed. The worker holds that end.
  if [ ! -c /dev/stdin ]; then
    # shellcheck disable=SC2016 # the inner shell expands these
    set -- sh -c 'exec 8<&0 </dev/null; { read -r _ <&8; kill -KILL -1; } >/dev/null 2>&1 & exec "$@" 8<&-' sh "$@"
  fi
  set -- "$folder" "$job" /job --ro-bind-try "$job/input" /job/input --chdir /job --remount-ro /dev --remount-ro / -- "$@"
  case $path in
    /usr/bin/* | /usr/local/bin/*) ;;
    *) set -- --ro-bind "$path" "$path" "$@" ;;
  esac
  # Links into /usr on most systems, folders on others.
  for top in /bin /lib /lib64; do
    if [ -L "$top" ]; then
      set -- --symlink "$(readlink "$top")" "$top" "$@"
    elif [ -d "$top" ]; then
      set -- --ro-bind "$top" "$top" "$@"
    fi
  done
  for read in /usr/bin /usr/lib /usr/lib64 /usr/local/bin /usr/local/lib /etc/ld.so.cache /etc/alternatives; do
    set -- --ro-bind-try "$read" "$read" "$@"
  done
  set -- bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL --dev /dev "$@"
else
  set -- "$program" "$@"
  # A namespace of its own has no network but a loopback that is down.
  if unshare -n true 2>/dev/null; then
    alone='unshare -n'
  elif unshare -c -n true 2>/dev/null; then
    alone='unshare -c -n'
  fi
fi

# The kernel kills the program when the worker dies. A worker that died before this was asked for shows as another parent.
if setpriv --pdeathsig KILL true 2>/dev/null; then
  # shellcheck disable=SC2016 # the inner shell expands these
  # shellcheck disable=SC2086 # nothing or several words
  exec $alone setpriv --pdeathsig KILL --no-new-privs \
    sh -c '[ "$PPID" = "$0" ] || exit 1; exec env -i PATH="$PATH" "$@"' "$worker" "$@"
fi
# shellcheck disable=SC2086
exec $alone env -i PATH="$PATH" "$@"
