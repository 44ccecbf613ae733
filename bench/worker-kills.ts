/**
 * Kills media workers with SIGKILL at random moments while they work, on a stack of its own:
 *
 *     bun bench/worker-kills.ts [kills] [jobs]
 *
 * Prints what became of the jobs; ends with 1 when one was lost or published twice.
 */
import { killRun } from "@flick/e2e/kill-run.ts";
import { runStack } from "@flick/e2e/running-stack.ts";

const [kills = 20, jobs = 50] = process.argv.slice(2).map(Number);
const flick = await runStack();
try {
  const { ready, lost, inFeed, hits, readyBy, seconds } = await killRun(flick, { kills, jobs });
  process.stdout.write(
    `${jobs} jobs, ${kills} kills (${hits} with a job at work): ${ready} ready, ${lost} lost, ${inFeed} in the feed, after ${seconds} s\n` +
      `made ready by each of ${readyBy.length} workers: ${readyBy.join(" ")}\n`,
  );
  process.exitCode = lost > 0 || inFeed !== ready ? 1 : 0;
} finally {
  await flick.stop();
}
