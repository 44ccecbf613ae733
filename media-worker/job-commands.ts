import { join } from "node:path";
import { parseArgs } from "node:util";

import { createClient, type Client } from "@connectrpc/connect";
import { readEnv, secret, url } from "@flick/platform/env.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { JobState, type JobSummary } from "@flick/proto/gen/flick/job/v1/job_pb.ts";
import { ImageJobAdminService } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { CoverJobAdminService } from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import { MediaJobAdminService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import * as v from "valibot";

import type { Command } from "./cli.ts";

const callTimeoutMs = 10_000;

const states = {
  waiting: JobState.WAITING,
  running: JobState.RUNNING,
  failed: JobState.FAILED,
  dead: JobState.DEAD,
};
type StateName = keyof typeof states;

interface Listed {
  kind: string;
  state: StateName;
  job: JobSummary;
}

/** What the services say and do about their jobs, by kind. */
type Admins = Record<
  "video" | "cover" | "picture",
  Client<typeof MediaJobAdminService | typeof CoverJobAdminService | typeof ImageJobAdminService>
>;

export const jobsCommand: Command = {
  usage: `[--state ${Object.keys(states).join("|")}]`,
  summary: "jobs that wait or run, or are in a state",
  async run(args) {
    const { values } = parseArgs({ args, options: { state: { type: "string" } } });
    if (values.state !== undefined && !(values.state in states)) {
      throw new Error(`--state must be one of ${Object.keys(states).join(", ")}`);
    }
    const asked: StateName[] = values.state === undefined ? ["running", "waiting"] : [values.state as StateName];
    return show(await connect(), asked);
  },
};

export const dlqCommand: Command = {
  usage: "",
  summary: "dead letters: jobs that failed through no known fault of their upload",
  async run(args) {
    parseArgs({ args });
    return show(await connect(), ["dead"]);
  },
};

export const retryCommand: Command = {
  usage: "ID... | --dead",
  summary: "has jobs that failed or wait done at once, or all dead letters",
  async run(args) {
    const { values, positionals } = parseArgs({ args, allowPositionals: true, options: { dead: { type: "boolean" } } });
    const wrong = positionals.find((id) => !/^\d{1,16}$/.test(id));
    if (wrong !== undefined) throw new Error(`${wrong} is no id of a job`);
    if ((positionals.length === 0) === !values.dead) throw new Error("say which: ids, or --dead");
    const admins = await connect();
    const dead = values.dead ? (await list(admins, ["dead"])).listed.map(({ job }) => job.jobId) : [];
    let missing = 0;
    for (const jobId of [...positionals.map(BigInt), ...dead]) {
      // Ids are of their own across kinds, but that a cover goes by its video's: which is ready then, and not touched.
      const answers = await Promise.all(Object.values(admins).map((admin) => admin.retryJob({ jobId })));
      const retried = answers.some((answer) => answer.retried);
      process.stdout.write(`${jobId}: ${retried ? "due now" : "there is no such job that failed or waits"}\n`);
      if (!retried) missing++;
    }
    return missing > 0 ? 1 : 0;
  },
};

/** Of the environment; without one, of the local stack. */
async function connect(): Promise<Admins> {
  const { FLICK_DATA_DIR, FLICK_ORIGIN_PORT } = readEnv({
    FLICK_DATA_DIR: v.optional(v.string(), join(import.meta.dir, "..", ".data")),
    FLICK_ORIGIN_PORT: v.optional(v.pipe(v.string(), v.digits("must be a port")), "8090"),
  });
  const local = Bun.file(join(FLICK_DATA_DIR, "secrets.json"));
  const localSecret = (await local.exists()) ? ((await local.json()) as { serviceTokenSecret?: string }) : {};
  const { ORIGIN_URL, USER_SERVICE_URL, SERVICE_TOKEN_SECRET } = readEnv({
    ORIGIN_URL: v.optional(url("http:", "https:"), `http://127.0.0.1:${FLICK_ORIGIN_PORT}`),
    USER_SERVICE_URL: v.optional(url("http:", "https:")),
    SERVICE_TOKEN_SECRET: localSecret.serviceTokenSecret
      ? v.optional(secret(32), localSecret.serviceTokenSecret)
      : secret(32),
  });
  const serviceToken = createServiceTokenSigner("operator", SERVICE_TOKEN_SECRET);
  const transport = (baseUrl: string) => createServiceTransport({ baseUrl, serviceToken, timeoutMs: callTimeoutMs });
  return {
    video: createClient(MediaJobAdminService, transport(ORIGIN_URL)),
    cover: createClient(CoverJobAdminService, transport(ORIGIN_URL)),
    picture: createClient(ImageJobAdminService, transport(USER_SERVICE_URL ?? ORIGIN_URL)),
  };
}

async function list(admins: Admins, asked: readonly StateName[]): Promise<{ listed: Listed[]; hasMore: boolean }> {
  const listed: Listed[] = [];
  let hasMore = false;
  for (const state of asked) {
    for (const [kind, admin] of Object.entries(admins)) {
      const answer = await admin.listJobs({ state: states[state] });
      listed.push(...answer.jobs.map((job) => ({ kind, state, job })));
      hasMore ||= answer.hasMore;
    }
  }
  return { listed, hasMore };
}

async function show(admins: Admins, asked: readonly StateName[]): Promise<number> {
  const { listed, hasMore } = await list(admins, asked);
  for (const { kind, state, job } of listed) {
    const percent = state === "running" ? ` ${job.percent} %` : "";
    const at = new Date(Number(job.atMs)).toISOString();
    const line = `${kind} ${job.jobId} ${state}${percent}, attempts ${job.attempts}, ${whenOf[state]} ${at}`;
    process.stdout.write(`${line}${job.reason ? `: ${job.reason}` : ""}\n`);
  }
  process.stdout.write(`${listed.length}${hasMore ? " and more" : ""} ${asked.join(" or ")}\n`);
  return 0;
}

const whenOf: Record<StateName, string> = {
  waiting: "due",
  running: "leased until",
  failed: "failed",
  dead: "failed",
};
