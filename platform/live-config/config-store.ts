import type { RedisConnection } from "../redis-connection.ts";
import { runScript } from "../redis-script.ts";
import { configKey, historyKey, readDocument, type ConfigDocument } from "./document.ts";

/** Versions that are kept, the one that applies among them. */
export const historyLength = 50;
const maxBytes = 64 * 1024;
const maxNoteLength = 500;

/** The stored configurations, as an operator reads and changes them. What is in them is the caller's to check. */
export interface ConfigStore {
  /** The document that applies; null when nothing is stored, or what is stored is no document (`unreadable`). */
  current(program: string): Promise<{ document: ConfigDocument | null; version: number; unreadable: boolean }>;
  /** Newest first. */
  history(program: string): Promise<ConfigDocument[]>;
  /**
   * Stores the version after `from`. Of two who began from the same version, one wins.
   *
   * @returns the version that is stored now: above `from` by 1, or, for the loser, whatever is there.
   * @throws {RangeError} when the document or its note is too long.
   */
  write(
    program: string,
    change: { from: number; settings: unknown; note: string },
  ): Promise<{ written: boolean; version: number }>;
}

/**
 * KEYS: the document, its history. ARGV: the version that the caller began from, the document to store, how many versions are kept.
 * Returns {1, its version}, or {0, the version that is stored} where that is not the one that the caller began from.
 *
 * A document that cannot be read must not keep anybody from replacing it: its version is then that of the history's head.
 */
const writeDocument = `
local function version_of(document)
  if not document then return nil end
  local ok, decoded = pcall(cjson.decode, document)
  return ok and type(decoded) == 'table' and tonumber(decoded.version) or nil
end
local version = version_of(redis.call('GET', KEYS[1])) or version_of(redis.call('LINDEX', KEYS[2], 0)) or 0
if version ~= tonumber(ARGV[1]) then return {0, version} end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[3]) - 1)
return {1, version + 1}`;

export function createConfigStore(connection: RedisConnection): ConfigStore {
  async function history(program: string): Promise<ConfigDocument[]> {
    const stored = (await connection.send("LRANGE", [historyKey(program), "0", "-1"])) as string[];
    return stored.flatMap((text) => readDocument(text) ?? []);
  }

  return {
    history,
    async current(program) {
      const stored = (await connection.send("GET", [configKey(program)])) as string | null;
      const document = stored === null ? null : readDocument(stored);
      if (document) return { document, version: document.version, unreadable: false };
      const [newest] = await history(program);
      return { document, version: newest?.version ?? 0, unreadable: stored !== null };
    },
    async write(program, { from, settings, note }) {
      if (note.length > maxNoteLength) throw new RangeError(`a note may have at most ${maxNoteLength} characters`);
      const document: ConfigDocument = { version: from + 1, time: Date.now(), note, settings };
      const text = JSON.stringify(document);
      if (Buffer.byteLength(text) > maxBytes)
        throw new RangeError(`a configuration may have at most ${maxBytes} bytes, and this one has more`);
      const keys = [configKey(program), historyKey(program)];
      const answer = await runScript(connection, writeDocument, keys, [from, text, historyLength]);
      const [written, version] = answer as [number, number];
      return { written: written === 1, version };
    },
  };
}
