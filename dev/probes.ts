const timeoutMs = 2000;

/** Does anything answer over HTTP, with other than a server error? */
export async function httpAnswers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: "manual" });
  await response.body?.cancel();
  return response.status < 500;
}

/** Can a statement be run? */
export async function mysqlAnswers(url: string): Promise<boolean> {
  const sql = new Bun.SQL(url, { max: 1, connectionTimeout: timeoutMs / 1000 });
  try {
    await sql`SELECT 1`;
    return true;
  } finally {
    await sql.close({ timeout: 0 });
  }
}

/** Does it answer PING (it does not while it still loads its data)? */
export async function redisAnswers(url: string): Promise<boolean> {
  const client = new Bun.RedisClient(url, { connectionTimeout: timeoutMs, autoReconnect: false });
  try {
    return (await client.send("PING", [])) === "PONG";
  } finally {
    client.close();
  }
}

/** Does a broker say which requests it understands? It does once it serves clients. */
export async function kafkaAnswers(hostname: string, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), timeoutMs);
  const socket = await Bun.connect({
    hostname,
    port,
    socket: { data: () => resolve(true), close: () => resolve(false), error: () => resolve(false) },
  });
  // The request's length (10), ApiVersions (18) in version 0, correlation id 0, no client id (-1).
  socket.write(new Uint8Array([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 255, 255]));
  const answered = await promise;
  clearTimeout(timer);
  socket.end();
  return answered;
}
