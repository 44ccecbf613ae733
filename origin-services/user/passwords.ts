import { createHmac, randomBytes } from "node:crypto";

import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

/** What a password worker is asked; it answers with the hash, or with whether the password fits. */
export type PasswordTask = { prehash: string; cost: number } | { prehash: string; hash: string };

export interface Passwords {
  hash(password: string): Promise<string>;
  /** With null for the hash it takes as long as with one and answers false. */
  verify(password: string, hash: string | null): Promise<boolean>;
  close(): void;
}

interface Job {
  task: PasswordTask;
  resolve: (answer: string | boolean) => void;
  reject: (error: unknown) => void;
}

/**
 * bcrypt (bcryptjs) in worker threads, because a hash takes tens of milliseconds of pure computation. Jobs wait in one queue;
 * beyond `maxQueue` they are refused with BUSY.
 *
 * bcrypt reads no more than 72 bytes, so it is given the Base64 of an HMAC-SHA-256 of the password; the HMAC's constant key sets
 * these apart from plain SHA-256 digests that may have leaked elsewhere ("password shucking").
 */
export function createPasswords(options: { threads: number; maxQueue?: number; cost?: number }): Passwords {
  const { threads, maxQueue = 512, cost = 10 } = options;
  const queue: Job[] = [];
  const idle: Worker[] = [];
  const busy = new Map<Worker, Job>();
  let closed = false;
  let decoy: Promise<string> | undefined;

  function startWorker(): Worker {
    const worker = new Worker(new URL("./password-worker.ts", import.meta.url).href);
    worker.addEventListener("message", (event: MessageEvent<string | boolean>) => {
      busy.get(worker)?.resolve(event.data);
      release(worker);
    });
    worker.addEventListener("error", (event) => {
      busy.get(worker)?.reject(new Error(`password worker failed: ${event.message}`));
      busy.delete(worker);
      worker.terminate();
      if (!closed) release(startWorker());
    });
    return worker;
  }

  function release(worker: Worker): void {
    busy.delete(worker);
    const job = queue.shift();
    if (job) give(worker, job);
    else idle.push(worker);
  }

  function give(worker: Worker, job: Job): void {
    busy.set(worker, job);
    worker.postMessage(job.task);
  }

  function run(task: PasswordTask): Promise<string | boolean> {
    if (closed || queue.length >= maxQueue) {
      return Promise.reject(flickError(Reason.BUSY, `more than ${maxQueue} sign-ins are waiting: try again`));
    }
    return new Promise((resolve, reject) => {
      const job = { task, resolve, reject };
      const worker = idle.pop() ?? (busy.size < threads ? startWorker() : undefined);
      if (worker) give(worker, job);
      else queue.push(job);
    });
  }

  const hash = async (password: string) => String(await run({ prehash: prehash(password), cost }));

  /** One for all unknown users. A refusal is not kept: it would tell them from known ones for ever. */
  function decoyHash(): Promise<string> {
    decoy ??= hash(randomBytes(16).toString("hex")).catch((error: unknown) => {
      decoy = undefined;
      throw error;
    });
    return decoy;
  }

  return {
    hash,
    async verify(password, known) {
      const compared = known ?? (await decoyHash());
      const fits = await run({ prehash: prehash(password), hash: compared });
      return fits === true && known !== null;
    },
    close() {
      closed = true;
      for (const worker of [...idle, ...busy.keys()]) worker.terminate();
      const stopped = flickError(Reason.UNAVAILABLE, "the server is stopping: try again");
      for (const job of [...queue, ...busy.values()]) job.reject(stopped);
    },
  };
}

function prehash(password: string): string {
  return createHmac("sha256", "flick.password.v1").update(password.normalize("NFC")).digest("base64");
}
