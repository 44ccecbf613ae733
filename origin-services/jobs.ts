import type { Transaction } from "@flick/db/client.ts";
import type { profileImages } from "@flick/db/schema/user.ts";
import type { videos } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { and, asc, eq, inArray, lte, type SQL } from "drizzle-orm";

import type { Context } from "./context.ts";
import { toId } from "./ids.ts";

const leaseMs = 20_000;
/** Waits before the next attempt; the last one repeats. */
const retryDelaysMs = [5_000, 30_000, 300_000];
/** Attempts that ended with a fault or with the death of their worker. */
const maxAttempts = 10;
const maxDueJobs = 100;
const maxReasonLength = 255;

type JobTable = typeof videos | typeof profileImages;

export interface JobClaim {
  jobId: bigint;
  fence: bigint;
}

export interface JobOptions<Table extends JobTable> {
  table: Table;
  /** Columns that a claim (without a percentage) and its renewals change beside the lease. */
  renewed?: (request: { percent?: number }) => Partial<Table["$inferInsert"]>;
  /** What is said of a job whose workers all died. */
  givenUp: string;
  /** Ends a job as failed. Its row is locked and unfinished. */
  endAsFailed: (tx: Transaction, row: Table["$inferSelect"], reason: string) => Promise<void>;
  /** Called after each commit of a claim or a failure. @param ended whether the job has failed for good. */
  changed: (row: Table["$inferSelect"], ended: boolean) => Promise<void>;
}

/**
 * The media worker's jobs, as rows of a table. A row is a job while it is `uploaded` or `processing`; `job_due_at` is when
 * somebody may take it: at once after the upload, later after a fault, when the lease lapses while a worker holds it.
 *
 * What is alike for all tables is here, under the names of the calls where the answers are alike too; completing a job is not.
 */
export function createJobs<Table extends JobTable>({ db, now }: Context, options: JobOptions<Table>) {
  type Row = Table["$inferSelect"];
  const table: JobTable = options.table;
  const unfinished = inArray(table.status, ["uploaded", "processing"]);

  return {
    /** Takes a job if it is due and nobody holds it: its row, and what the answer to the claim says of it. */
    async claim(jobId: bigint) {
      const id = toId(jobId);
      const found = await transact(db, async (tx) => {
        const row = await findLocked(tx, and(eq(table.id, id), unfinished, lte(table.jobDueAt, now())));
        if (!row) return null;
        if (row.jobAttempts >= maxAttempts) {
          await options.endAsFailed(tx, row, options.givenUp);
          return { row, ended: true };
        }
        const claim = { jobFence: row.jobFence + 1, jobAttempts: row.jobAttempts + 1 };
        await tx
          .update(table)
          .set({ ...options.renewed?.({}), ...claim, status: "processing", jobDueAt: now() + leaseMs })
          .where(eq(table.id, id));
        return { row: { ...row, ...claim }, ended: false };
      });
      if (!found) return null;
      const { row, ended } = found;
      await options.changed(row, ended);
      if (ended) return null;
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

    async failJob(request: JobClaim & { reason: string; permanent: boolean }) {
      const reason = Array.from(request.reason).slice(0, maxReasonLength).join("");
      const { row, retryInMs } = await transact(db, async (tx) => {
        const found = await findLocked(tx, held(request));
        if (!found) throw claimLost();
        if (request.permanent || found.jobAttempts >= maxAttempts) {
          await options.endAsFailed(tx, found, reason);
          return { row: found, retryInMs: 0 };
        }
        const delay = retryDelaysMs[Math.min(found.jobAttempts, retryDelaysMs.length) - 1] ?? 0;
        await tx
          .update(table)
          .set({ status: "uploaded", jobDueAt: now() + delay })
          .where(eq(table.id, found.id));
        return { row: found, retryInMs: delay };
      });
      await options.changed(row, retryInMs === 0);
      return { retryInMs: BigInt(retryInMs) };
    },

    async listDueJobs({ limit }: { limit: number }) {
      const rows = await db
        .select({ id: table.id })
        .from(table)
        .where(and(unfinished, lte(table.jobDueAt, now())))
        .orderBy(asc(table.jobDueAt))
        .limit(Math.min(Math.max(limit, 1), maxDueJobs));
      return { jobIds: rows.map((row) => BigInt(row.id)) };
    },

    held,
    claimLost,

    /** The answer to the first try may have been lost: completing again with the same claim is no fault. */
    async isCompleted(claim: JobClaim): Promise<boolean> {
      return (await db.$count(table, withFence(claim, "ready"))) > 0;
    },
  };

  async function findLocked(tx: Transaction, condition: SQL | undefined): Promise<Row | undefined> {
    const [row] = await tx.select().from(table).where(condition).for("update");
    return row;
  }

  /** A claim stands while its fencing number is the newest, also after its lease has lapsed: nobody else has taken the job then. */
  function held(claim: JobClaim): SQL | undefined {
    return withFence(claim, "processing");
  }

  function withFence({ jobId, fence }: JobClaim, status: "processing" | "ready"): SQL | undefined {
    return and(eq(table.id, toId(jobId)), eq(table.status, status), eq(table.jobFence, toId(fence)));
  }
}

const claimLost = () => flickError(Reason.CLAIM_LOST, "another worker has this job now, or it has ended");
