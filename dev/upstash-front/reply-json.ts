import { ReplyError, type Reply } from "./resp2.ts";

/**
 * One command's outcome in Upstash's JSON, `{"result": …}` or `{"error": "…"}`.
 * The format: https://upstash.com/docs/redis/features/restapi#response
 *
 * @param inBase64 strings are base64, but for a plain OK; otherwise bytes that are no UTF-8 become U+FFFD.
 */
export function outcomeJson(reply: Reply, inBase64: boolean): string {
  if (reply instanceof ReplyError) return errorJson(reply.message);
  return `{"result":${reply === "OK" ? '"OK"' : valueJson(reply, inBase64)}}`;
}

export function errorJson(message: string): string {
  return JSON.stringify({ error: message });
}

function valueJson(reply: Reply, inBase64: boolean): string {
  if (reply === null) return "null";
  // All digits, whatever the reader makes of them.
  if (typeof reply === "number" || typeof reply === "bigint") return String(reply);
  if (Array.isArray(reply)) return `[${reply.map((item) => valueJson(item, inBase64)).join(",")}]`;
  const bytes = Buffer.isBuffer(reply) ? reply : Buffer.from(reply instanceof ReplyError ? reply.message : reply);
  return inBase64 ? `"${bytes.toString("base64")}"` : JSON.stringify(bytes.toString("utf8"));
}
