import type { Transaction } from "@flick/db/client.ts";
import type { profileImages } from "@flick/db/schema/user.ts";
import type { videoCovers, videos } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { JobState } from "@flick/proto/gen/flick/job/v1/job_pb.ts";
import { and, asc, eq, inArray, lte, sql, type SQL } from "drizzle-orm";

import type { Context } from "./context.ts";
import { toId } from "./ids.ts";

const leaseMs = 20_000;
/** Waits after each fault; one more is the last. */
const retryDelaysMs = [5_000, 30_000, 300_000];
/** Also those that ended with the death of their worker, which may be no fault of the job. */
const maxAttempts = 10;
const maxDueJobs = 100;
/** Among how many due jobs, the oldest, work is shared out between owners. */
const sharedOut = 5_000;
const maxListedJobs = 1_000;
const maxReasonLength = 255;

type JobTable = typeof videos | typeof videoCovers | typeof profileImages;

export interface JobClaim {
  jobId: bigint;
  fence: bigint;
}

export interface JobOptions<Table extends JobTable> {
  table: Table;
  /** Columns that a claim (without a percentage) and its renewals change beside the lease. */
  renewed?: (request: { percent?: number }) => Partial<Table["$inferInsert"]>;
  /** Between whom the work is shared out. */
  owner: "authorId" | "userId";
  /** Which rows an operator may have done once more, if not all. */
  retriable?: SQL | undefined;
  /** What is said of a job whose workers all died. */
  givenUp: string;
  /** What else is to be done in the transaction in which a job ends as failed (-1), or comes back from that (1). Its row is locked. */
  counted?: (tx: Transaction, row: Table["$inferSelect"], amount: 1 | -1) => Promise<void>;
  /** Called after each commit of a claim, a failure or a return. @param ending what the job has ended as, if it has. */
  changed: (row: Table["$inferSelect"], ending: Ending | null) => Promise<void>;
}

/** Ended because of its upload, or as a dead letter. */
export type Ending = "failed" | "dead";

/**
 * The media worker's jobs, as rows of a table. A row is a job while it is `uploaded` or `processing`; `job_due_at` is when
 * somebody may take it: at once after the upload, later after a fault, when the lease lapses while a worker holds it.
 *
 * What is alike for all tables is here, under the names of the calls where the answers are alike too; completing a job is not.
 */
export function createJobs<Table extends JobTable>({ db, now }: Context, options: JobOptions<Table>) {
  type Row = Table["$inferSelect"];
  const table: JobTable = options.table;
  const owner = sql.identifier(options.owner === "authorId" ? "author_id" : "user_id");
  const unfinished = inArray(table.status, ["uploaded", "processing"]);

  return {
    retry,

    /** For operators. */
    async retryJob({ jobId }: { jobId: bigint }) {
      const before = await retry(jobId, options.retriable);
      return { retried: before === "failed" || before === "uploaded" };
    },

    /** Takes a job if it is due and nobody holds it: its row, and what the answer to the claim says of it. */
    async claim(jobId: bigint) {
      const id = toId(jobId);
      const found = await transact(db, async (tx) => {
        const row = await findLocked(tx, and(eq(table.id, id), unfinished, lte(table.jobDueAt, now())));
        if (!row) return null;
        if (row.jobAttempts >= maxAttempts) {
          await end(tx, row, options.givenUp, "dead");
          return { row, ending: "dead" as const };
        }
        const claim = { jobFence: row.jobFence + 1, jobAttempts: row.jobAttempts + 1 };
        await tx
          .update(table)
          .set({ ...options.renewed?.({}), ...claim, status: "processing", jobDueAt: now() + leaseMs })
          .where(eq(table.id, id));
        return { row: { ...row, ...claim }, ending: null };
      });
      if (!found) return null;
      const { row, ending } = found;
      await options.changed(row, ending);
      if (ending) return null;
      const { jobFence, jobAttempts: attempt, rawKey } = row;
      return { row, job: { jobId, fence: BigInt(jobFence), rawKey, attempt, leaseMs: BigInt(leaseMs) } };
    },

    async renewJob(claim: JobClaim & { percent?: number }) {
      const [result] = await db
        .update(table)
        .set({ ...options.renewed?.(claim), jobDueAt: now() + leaseMs })
        .where(held(claim));
      if (result.affectedRows === 0) throw claimLost();
      return { leaseMs: BigInt(leaseMs) };
    },

    async failJob(request: JobClaim & { reason: string; permanent: boolean; interrupted: boolean }) {
      const reason = Array.from(request.reason).slice(0, maxReasonLength).join("");
      const { row, ending, retryInMs } = await transact(db, async (tx) => {
        const found = await findLocked(tx, held(request));
        if (!found) throw claimLost();
        const delay = request.interrupted ? soonMs : retryDelaysMs[found.jobFaults];
        if (request.permanent || delay === undefined) {
          const ended: Ending = request.permanent ? "failed" : "dead";
          await end(tx, found, reason, ended);
          return { row: found, ending: ended, retryInMs: 0 };
        }
        const { jobAttempts, jobFaults } = found;
        const counts = request.interrupted ? { jobAttempts: jobAttempts - 1 } : { jobFaults: jobFaults + 1 };
        await tx
          .update(table)
          .set({ ...counts, status: "uploaded", jobDueAt: now() + delay })
          .where(eq(table.id, found.id));
        return { row: found, ending: null, retryInMs: delay };
      });
      await options.changed(row, ending);
      return { retryInMs: BigInt(retryInMs) };
    },

    /** In the order in which they should be taken: see MediaJobService. */
    async listDueJobs({ limit }: { limit: number }) {
      const due = sql`SELECT ${table.id} AS id, ${owner} AS owner, ${table.jobDueAt} AS due_at FROM ${table}
        WHERE ${table.status} IN ('uploaded', 'processing') AND ${table.jobDueAt} <= ${now()}
        ORDER BY ${table.jobDueAt} LIMIT ${sharedOut}`;
      const places = sql`SELECT id, owner, due_at, ROW_NUMBER() OVER (PARTITION BY owner ORDER BY due_at, id) AS place FROM (${due}) due`;
      const busy = sql`SELECT ${owner} AS owner, COUNT(*) AS running FROM ${table}
        WHERE ${table.status} = 'processing' AND ${table.jobDueAt} > ${now()} GROUP BY ${owner}`;
      const [rows]: [unknown, unknown] = await db.execute(
        sql`SELECT places.id AS id FROM (${places}) places LEFT JOIN (${busy}) busy ON busy.owner = places.owner
          ORDER BY places.place + COALESCE(busy.running, 0), places.due_at, places.id
          LIMIT ${Math.min(Math.max(limit, 1), maxDueJobs)}`,
      );
      return { jobIds: (rows as { id: number | string }[]).map(({ id }) => BigInt(id)) };
    },

    /** For operators. */
    async listJobs(request: { state: JobState; limit: number }) {
      const where = stateConditions[request.state];
      if (!where) throw flickError(Reason.INVALID_PARAMETER, "state: must be one of those that a job can be in");
      const limit = request.limit > 0 ? Math.min(request.limit, maxListedJobs) : maxListedJobs;
      const rows: Row[] = await db
        .select()
        .from(table)
        .where(
          and(eq(table.status, where.status), where.dead === undefined ? undefined : eq(table.jobDead, where.dead)),
        )
        .orderBy(asc(table.jobDueAt))
        .limit(limit + 1);
      const jobs = rows.slice(0, limit).map((row) => ({
        jobId: BigInt(row.id),
        state: request.state,
        attempts: row.jobAttempts,
        atMs: BigInt(row.jobDueAt),
        percent: "progress" in row ? row.progress : 0,
        reason: row.statusReason,
      }));
      return { jobs, hasMore: rows.length > limit };
    },

    held,
    claimLost,

    /** The answer to the first try may have been lost: completing again with the same claim is no fault. */
    async isCompleted(claim: JobClaim): Promise<boolean> {
      return (await db.$count(table, withFence(claim, ["ready", "replaced"]))) > 0;
    },
  };

  /**
   * Has a job that failed done once more from the beginning, or one that waits at once.
   *
   * @param mine which rows may be retried; all when it is left out.
   * @returns the state that it was in, null when there is no such row.
   */
  async function retry(jobId: bigint, mine?: SQL): Promise<Row["status"] | null> {
    const row = await transact(db, async (tx) => {
      const found = await findLocked(tx, and(eq(table.id, toId(jobId)), mine));
      if (found?.status === "failed") {
        const fresh = { statusReason: "", jobAttempts: 0, jobFaults: 0, jobDead: false };
        const change = { ...fresh, ...options.renewed?.({}), status: "uploaded" as const, jobDueAt: now() };
        await tx.update(table).set(change).where(eq(table.id, found.id));
        await options.counted?.(tx, found, 1);
      } else if (found?.status === "uploaded") {
        await tx.update(table).set({ jobDueAt: now() }).where(eq(table.id, found.id));
      }
      return found ?? null;
    });
    if (row) await options.changed(row, null);
    return row?.status ?? null;
  }

  async function end(tx: Transaction, row: Row, statusReason: string, ending: Ending): Promise<void> {
    const change = { status: "failed" as const, statusReason, jobDead: ending === "dead", jobDueAt: now() };
    await tx.update(table).set(change).where(eq(table.id, row.id));
    await options.counted?.(tx, row, -1);
  }

  async function findLocked(tx: Transaction, condition: SQL | undefined): Promise<Row | undefined> {
    const [row] = await tx.select().from(table).where(condition).for("update");
    return row;
  }

  /** A claim stands while its fencing number is the newest, also after its lease has lapsed: nobody else has taken the job then. */
  function held(claim: JobClaim): SQL | undefined {
    return withFence(claim, ["processing"]);
  }

  function withFence({ jobId, fence }: JobClaim, statuses: readonly string[]): SQL | undefined {
    const inState = sql`${table.status} IN (${sql.join(
      statuses.map((status) => sql`${status}`),
      sql`, `,
    )})`;
    return and(eq(table.id, toId(jobId)), inState, eq(table.jobFence, toId(fence)));
  }
}

/** When a job that was interrupted is due; a moment, because 0 is the answer for a job that has ended. */
const soonMs = 1;

const stateConditions: Partial<Record<JobState, { status: "uploaded" | "processing" | "failed"; dead?: boolean }>> = {
  [JobState.WAITING]: { status: "uploaded" },
  [JobState.RUNNING]: { status: "processing" },
  [JobState.FAILED]: { status: "failed", dead: false },
  [JobState.DEAD]: { status: "failed", dead: true },
};

const claimLost = () => flickError(Reason.CLAIM_LOST, "another worker has this job now, or it has ended");
