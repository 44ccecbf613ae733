/** Watches over a temporary folder and the processes that work in it. */
export interface Guard {
  dir: string;
  watch(pid: number): void;
}

/** Reads process ids, one a line, until our end of the pipe is closed: by our end, whatever its cause. */
const script = `
while read -r pid; do pids="$pids -$pid"; done
[ -z "$pids" ] || kill -KILL -- $pids 2>/dev/null
rm -rf -- "$1"`;

/** When this process ends, however it ends, the groups of the watched processes are killed and the folder is removed. */
export function createGuard(dir: string): Guard {
  const guard = Bun.spawn(["sh", "-c", script, "flick-guard", dir], {
    detached: true,
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  guard.unref();
  return {
    dir,
    watch(pid) {
      void guard.stdin.write(`${pid}\n`);
      void guard.stdin.flush();
    },
  };
}
