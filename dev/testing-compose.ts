import { afterAll, beforeAll } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { parseComposeFile, type ComposeService } from "./compose-file.ts";
import { makeComposeSecrets } from "./compose-secrets.ts";

/** The repository's. */
export const root = join(import.meta.dir, "..");
/** The text of docker-compose.yml. */
export const source = await readFile(join(root, "docker-compose.yml"), "utf8");
export const compose = parseComposeFile(source);
export const services = Object.entries(compose.services);
/** Those whose images are built here. */
export const ours = services.filter(([, service]) => service.build);

/** Our programs by their files; where one serves, the setting that is its port, and the file that answers its health check. */
const programs = {
  "origin-services/main.ts": { port: "PORT", health: "origin-services/server.ts" },
  "platform/cdc/main.ts": { port: "PORT", health: "platform/cdc/main.ts" },
  "platform/event-log/cli.ts": {},
  "media-worker/main.ts": { port: "HEALTH_PORT", health: "media-worker/health.ts" },
  "dev/oss-store/main.ts": { port: "OSS_STORE_PORT", health: "dev/oss-store/oss-store.ts" },
  "dev/upstash-front/main.ts": { port: "UPSTASH_FRONT_PORT", health: "dev/upstash-front/upstash-front.ts" },
  "dev/gateway.ts": { port: "PORT", health: "edge-gateway/routes/health.ts" },
};
export type ProgramFile = keyof typeof programs;

/** The services that run one of our programs. */
export const known = ours.flatMap(([name, service]) => {
  const program = programOf(service);
  return isKnown(program) ? [{ name, service, program }] : [];
});
/** Those of them that answer calls. */
export const servers = known.flatMap((each) => {
  const { port, health }: { port?: string; health?: string } = programs[each.program];
  return port && health ? [{ ...each, port, health }] : [];
});
export const origins = servers.filter(({ program }) => program === "origin-services/main.ts");

/** Is it another's program, in an image of ours? */
export function isFlink({ build }: ComposeService): boolean {
  return build?.context === "ops/flink-cdc";
}

/** Every name under which other containers find a service. */
export function namesOf(name: string, { networks }: ComposeService): string[] {
  return [name, ...(networks["backend"]?.aliases ?? [])];
}

export function serviceNamed(name: string): ComposeService {
  const service = compose.services[name];
  if (!service) throw new Error(`docker-compose.yml has no service ${name}`);
  return service;
}

/** Makes the containers' secrets for the tests of one file; gives the folder that they are in, which is there while a test runs. */
export function setUpComposeSecrets(): () => string {
  let dir = "";
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flick-compose-"));
    await makeComposeSecrets(dir);
  });
  afterAll(() => rm(dir, { recursive: true }));
  return () => dir;
}

/** The file that a service of ours runs. */
function programOf({ command = [] }: ComposeService): string {
  return /\bbun ([\w/-]+\.ts)\b/.exec(command.join(" "))?.[1] ?? "";
}

function isKnown(program: string): program is ProgramFile {
  return Object.hasOwn(programs, program);
}
