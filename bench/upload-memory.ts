/**
 * Memory of gateway, origin and object store while 1 GiB is published, on a stack of its own:
 *
 *     bun bench/upload-memory.ts [bytes]
 *
 * Prints how many MiB each grew by at its peak.
 */
import { memoryOf, publishLarge } from "@flick/e2e/large-upload.ts";
import { runStack } from "@flick/e2e/running-stack.ts";

const bytes = Number(process.argv[2] ?? 1024 ** 3 - 1024);
const flick = await runStack();
try {
  const { token } = await flick.signUp();
  const watched = { gateway: flick.pidOf("gateway"), origin: flick.pidOf("origin"), oss: flick.pidOf("oss") };
  for (const [name, pid] of Object.entries(watched)) {
    process.stdout.write(`${name} before: ${Math.round(await memoryOf(pid))} MiB\n`);
  }
  for (let round = 1; round <= 3; round++) {
    const began = performance.now();
    const grown = await publishLarge({ url: flick.url, token, bytes }, watched);
    const seconds = (performance.now() - began) / 1000;
    const rate = Math.round(bytes / 1024 ** 2 / seconds);
    process.stdout.write(
      `round ${round}: ${seconds.toFixed(1)} s, ${rate} MiB/s, grown by (MiB) ${JSON.stringify(grown)}\n`,
    );
  }
} finally {
  await flick.stop();
}
