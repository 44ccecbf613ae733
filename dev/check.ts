import { refuseArguments, runCommandLine } from "@flick/platform/command.ts";

import { runChecks, type CheckResult } from "./checks.ts";

/** `ok   tsc (1.2 s)`, or `FAIL tsc (1.2 s)` with what is wrong below. */
export function checkReport({ name, problem, ms }: CheckResult): string {
  const head = `${problem === null ? "ok  " : "FAIL"} ${name} (${(ms / 1000).toFixed(1)} s)`;
  return problem === null ? head : `${head}\n${problem.replaceAll(/^/gm, "     ")}\n`;
}

if (import.meta.main) {
  await runCommandLine({
    help: "Checks types, style, dead code and what is generated; needs no servers.",
    async run(args) {
      refuseArguments(args);
      const results = await runChecks((result) => void process.stdout.write(`${checkReport(result)}\n`));
      const failed = results.filter(({ problem }) => problem !== null).map(({ name }) => name);
      if (failed.length > 0) process.stdout.write(`\nnot passed: ${failed.join(", ")}\n`);
      return failed.length > 0 ? 1 : 0;
    },
  });
}
