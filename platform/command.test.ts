import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

let dir: string;
let program: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-command-"));
  program = join(dir, "command.ts");
  await Bun.write(
    program,
    `import { refuseArguments, runCommandLine } from ${JSON.stringify(join(import.meta.dir, "command.ts"))};
    await runCommandLine({
      help: "how it is called\\n",
      failure: 3,
      async run([what, ...rest]) {
        if (what === "print") for (let line = 0; line < 10_000; line++) process.stdout.write(\`line \${line}\\n\`);
        if (what === "fail") throw new Error("this went wrong");
        if (what === "why") throw new Error("this, too", { cause: new Error("that", { cause: "those" }) });
        if (what === "two") return 2;
        refuseArguments(rest);
      },
    });`,
  );
});
afterAll(() => rm(dir, { recursive: true }));

async function call(...args: string[]) {
  const child = Bun.spawn([process.execPath, program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

test("a command ends with the code that it gives, or with what was wrong in a few words", async () => {
  const { out, ...printed } = await call("print");
  expect([out.length, printed]).toEqual([98_890, { code: 0, err: "" }]);
  expect(await call("two")).toEqual({ code: 2, out: "", err: "" });
  expect(await call("fail")).toEqual({ code: 3, out: "", err: "this went wrong\n" });
  expect(await call("why")).toEqual({ code: 3, out: "", err: "this, too (that (those))\n" });
});

test("a command tells how it is called, and does nothing of what it was not asked", async () => {
  for (const flag of ["--help", "-h"])
    expect(await call(flag)).toEqual({ code: 0, out: "how it is called\n", err: "" });
  const refused = { code: 3, out: "", err: "There is no argument now: only --help is known.\n" };
  expect(await call("nothing", "now")).toEqual(refused);
});

test("a command whose output nobody reads to its end ends without a word", async () => {
  const line = `"${process.execPath}" "${program}" print | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const child = Bun.spawn(["bash", "-c", line], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  expect([out, err]).toEqual(["line 0\n0\n", ""]);
});
