import { setTimeout as sleep } from "node:timers/promises";

import type { Pool } from "mysql2/promise";

import { askMysql } from "./ask-mysql.ts";

/** Where a change lies in the binlog. */
export interface BinlogPlace {
  file: string;
  pos: number;
  gtid?: string;
}

export interface VisibleCommits {
  /**
   * Resolves when whoever reads the database sees the change that lies there, and with it all before it.
   *
   * @throws when that takes longer than 30 s.
   */
  until(place: BinlogPlace): Promise<void>;
}

const withinMs = 30_000;
/** For the server's answer that it has waited so long in vain. */
const latenessMs = 5_000;
const longestPollMs = 20;
/** MariaDB names a new file some moments before the last transactions of the old one can be seen. */
const newFileMs = 250;
/** For a server that cannot be asked. */
const blindMs = 50;

/**
 * Waits for what a server does between writing a transaction to its binlog and letting others see it. A reader of the binlog is often
 * earlier than that: by milliseconds on a busy machine, by seconds when a commit waits for a semi-synchronous replica.
 *
 * MariaDB moves its position `binlog_snapshot_…` in the same critical section in which the engine commits. MySQL adds a transaction to
 * `gtid_executed` after the engine's commit; without GTIDs nothing tells, and {@link until} waits 50 ms.
 */
export function watchVisibleCommits(mysql: Pool, signal: AbortSignal): VisibleCommits {
  /** All before this place can be seen. */
  let seen: BinlogPlace = { file: "", pos: 0 };
  let dialect: Promise<(place: BinlogPlace) => Promise<void>> | undefined;

  return {
    async until(place) {
      if (isBehind(place, seen)) return;
      dialect ??= isMariadb(mysql).then((mariadb) => (mariadb ? untilInMariadb : untilInMysql));
      await (
        await dialect
      )(place);
    },
  };

  async function untilInMariadb(place: BinlogPlace): Promise<void> {
    const deadline = Date.now() + withinMs;
    for (let pollMs = 1; ; pollMs = Math.min(longestPollMs, 2 * pollMs)) {
      const at = await committedPlace(mysql);
      if (isEarlier(place.file, at.file)) {
        await pause(newFileMs);
        seen = { file: at.file, pos: 0 };
        return;
      }
      if (isBehind(place, at)) {
        seen = at;
        return;
      }
      if (Date.now() > deadline) throw notVisible(place);
      await pause(pollMs);
    }
  }

  async function untilInMysql(place: BinlogPlace): Promise<void> {
    if (!place.gtid) return pause(blindMs);
    const rows = await askMysql(mysql, {
      sql: "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?) AS late",
      values: [place.gtid, withinMs / 1000],
      timeout: withinMs + latenessMs,
    });
    if (rows[0]?.["late"] !== 0) throw notVisible(place);
    seen = { file: place.file, pos: place.pos + 1 };
  }

  async function pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal });
  }
}

function isBehind(place: BinlogPlace, later: BinlogPlace): boolean {
  return place.file === later.file ? place.pos < later.pos : isEarlier(place.file, later.file);
}

/** The number in a file's name has six digits, and then more. */
function isEarlier(file: string, later: string): boolean {
  return file.length === later.length ? file < later : file.length < later.length;
}

/** The end of the last transaction that the engine has committed. */
async function committedPlace(mysql: Pool): Promise<BinlogPlace> {
  const rows = await askMysql(mysql, { sql: "SHOW STATUS LIKE 'binlog_snapshot_%'" });
  const status = new Map(rows.map((row) => [String(row["Variable_name"]).toLowerCase(), String(row["Value"])]));
  return { file: status.get("binlog_snapshot_file") ?? "", pos: Number(status.get("binlog_snapshot_position")) };
}

async function isMariadb(mysql: Pool): Promise<boolean> {
  const rows = await askMysql(mysql, { sql: "SELECT VERSION() AS version" });
  return String(rows[0]?.["version"]).includes("MariaDB");
}

function notVisible({ file, pos }: BinlogPlace): Error {
  return new Error(`a transaction at ${file}:${pos} was not committed within ${withinMs} ms after it was logged`);
}
