import { EnvError } from "../env.ts";
import { checkOurTopics, openEventLog } from "../event-log/open.ts";
import { createLog } from "../log.ts";
import { databaseOf, readCdcEnv } from "./env.ts";
import { createBinlogTailer } from "./tailer.ts";

try {
  const env = readCdcEnv();
  const log = createLog({ program: "cdc", level: env.LOG_LEVEL });
  const eventLog = openEventLog(env, log);
  await checkOurTopics(eventLog, log);
  const tailer = createBinlogTailer({
    mysqlUrl: env.MYSQL_URL,
    database: databaseOf(env.MYSQL_URL),
    eventLog,
    log,
    serverId: env.CDC_SERVER_ID,
  });
  if (env.PORT !== undefined) {
    const routes = {
      "/healthz": () => {
        const status = tailer.status();
        return Response.json(status, { status: status.reading ? 200 : 503 });
      },
    };
    const notFound = () => new Response("not found\n", { status: 404 });
    const { url } = Bun.serve({ hostname: env.HOST, port: env.PORT, routes, fetch: notFound });
    log.info("listening", { url: url.origin });
  }
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("stopping", { signal });
      // Nothing is lost when this does not come to its end: the next start goes on from the last published position.
      void tailer
        .stop()
        .then(() => eventLog.close())
        .finally(() => process.exit(0));
    });
  }
} catch (error) {
  process.stderr.write(`${error instanceof EnvError ? error.message : String(error)}\n`);
  process.exit(1);
}
