import { readdir } from "node:fs/promises";

const boundary = "b";
const chunkBytes = 1024 * 1024;

/**
 * Publishes a file of so many bytes that begins like an MP4 and is made while it is sent.
 *
 * @param watched programs whose memory is watched meanwhile, by their process ids.
 * @returns how many MiB each of them, with its children, had more at its peak than before.
 */
export async function publishLarge<Name extends string>(
  options: { url: string; token: string; bytes: number },
  watched: Record<Name, number>,
): Promise<Record<Name, number>> {
  const programs = Object.entries<number>(watched);
  const before = new Map<string, number>();
  const peak = new Map<string, number>();
  for (const [name, pid] of programs) before.set(name, await memoryOf(pid));
  const sent = new AbortController();
  const watching = (async () => {
    while (!sent.signal.aborted) {
      for (const [name, pid] of programs) peak.set(name, Math.max(peak.get(name) ?? 0, await memoryOf(pid)));
      await Bun.sleep(50);
    }
  })();
  const response = await fetch(`${options.url}/douyin/publish/action/?token=${options.token}&title=large`, {
    method: "POST",
    body: largeForm(options.bytes),
    headers: { "content-type": `multipart/form-data; boundary=${boundary}` },
  });
  sent.abort();
  await watching;
  const answer = (await response.json()) as { status_code: number; status_msg: string };
  if (answer.status_code !== 0) throw new Error(`the upload was refused: ${answer.status_msg}`);
  const grown = programs.map(([name]) => [name, Math.round((peak.get(name) ?? 0) - (before.get(name) ?? 0))]);
  return Object.fromEntries(grown) as Record<Name, number>;
}

function largeForm(bytes: number): ReadableStream {
  const head = `--${boundary}\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n\0\0\0\x20ftypisom`;
  let sent = 0;
  return new ReadableStream({
    type: "bytes",
    start: (controller) => controller.enqueue(Buffer.from(head)),
    pull(controller) {
      if (sent < bytes) {
        const size = Math.min(chunkBytes, bytes - sent);
        controller.enqueue(new Uint8Array(size));
        sent += size;
      } else {
        controller.enqueue(Buffer.from(`\r\n--${boundary}--\r\n`));
        controller.close();
      }
    },
  });
}

/** MiB of memory that a process and its descendants have resident (Linux). */
export async function memoryOf(pid: number): Promise<number> {
  const parents = new Map<number, number>();
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await Bun.file(`/proc/${entry}/stat`)
      .text()
      .catch(() => "");
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    parents.set(Number(entry), parent);
  }
  let total = 0;
  for (const each of parents.keys()) {
    if (!descends(each, pid, parents)) continue;
    const status = await Bun.file(`/proc/${each}/status`)
      .text()
      .catch(() => "");
    total += Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  }
  return total;
}

function descends(pid: number, ancestor: number, parents: Map<number, number>): boolean {
  for (let each = pid; each > 1; each = parents.get(each) ?? 0) if (each === ancestor) return true;
  return false;
}
