/**
 * Serves `GET /healthz`: 200 while the worker takes jobs, 503 once it is stopping.
 * @param running jobs at work now.
 */
export function serveHealth(options: {
  hostname: string;
  port: number;
  running: () => number;
  stopping: () => boolean;
}) {
  const server = Bun.serve({
    hostname: options.hostname,
    port: options.port,
    maxRequestBodySize: 1024,
    fetch(request) {
      if (new URL(request.url).pathname !== "/healthz") return new Response("no such path\n", { status: 404 });
      if (options.stopping()) return new Response("stopping\n", { status: 503 });
      return new Response(`ok, ${options.running()} jobs at work\n`);
    },
  });
  return { url: server.url.href, stop: () => server.stop(true) };
}
