/**
 * Runs Connect's own conformance suite (unary gRPC-web) against our handler and our transport:
 *
 *     bun run conformance
 *
 * It needs `go` on the PATH and the Go module proxy: the runner is built from its module into a folder of its own under the system's
 * temporary one, and the suite's .proto files are compiled from there. Extra arguments go to the runner (`--run`, `--trace`, `-v`).
 */
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { imageVariable } from "./messages.ts";

const version = "v1.0.5";
const moduleName = "connectrpc.com/conformance";
const maxRunMs = 600_000;

const here = (path: string) => new URL(path, import.meta.url).pathname;
const goPath = join(tmpdir(), "flick-conformance");
const image = join(goPath, "image.binpb");
const goEnv = { GOPATH: goPath, GOCACHE: join(goPath, "cache"), GOFLAGS: "-modcacherw" };

await mkdir(goPath, { recursive: true });
await run(["go", "install", `${moduleName}/cmd/connectconformance@${version}`], goEnv);
const protos = join(goPath, "pkg", "mod", `${moduleName}@${version}`, "proto");
await run([here("../../../proto/node_modules/.bin/buf"), "build", protos, "-o", image]);

const features = here("features.yaml");
for (const mode of ["server", "client"]) {
  process.stdout.write(`${mode}:\n`);
  const program = [process.execPath, here(`${mode}.ts`)];
  const runner = [join(goPath, "bin", "connectconformance"), "--mode", mode, "--conf", features];
  await run([...runner, ...process.argv.slice(2), "--", ...program], { [imageVariable]: image });
}

async function run(command: string[], env: Record<string, string> = {}): Promise<void> {
  const child = Bun.spawn(command, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "inherit"],
    timeout: maxRunMs,
  });
  if ((await child.exited) === 0) return;
  process.stderr.write(`failed: ${command.join(" ")}\n`);
  process.exit(1);
}
