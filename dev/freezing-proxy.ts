import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

import { host } from "./ports.ts";

/** A way to a server that can be lost without a word, as when its host vanishes. */
export interface FreezingProxy {
  /** The server's, by this way. */
  url: string;
  /** Connections that were ever made. */
  connections(): number;
  /** From here on nothing goes through the connections that there are, and none of them ends. New ones work. */
  freeze(): void;
  stop(): void;
}

/** @param url of a server that is reached by TCP. */
export async function startFreezingProxy(url: string): Promise<FreezingProxy> {
  const target = new URL(url);
  const ways: [Socket, Socket][] = [];
  const proxy = createServer((socket) => {
    const beyond = connect(Number(target.port), target.hostname);
    ways.push([socket, beyond]);
    for (const end of [socket, beyond]) end.on("error", () => {});
    socket.pipe(beyond).pipe(socket);
  });
  proxy.listen(0, host);
  await once(proxy, "listening");
  const { port } = proxy.address() as AddressInfo;
  return {
    url: Object.assign(new URL(target), { host: `${host}:${port}` }).href,
    connections: () => ways.length,
    freeze() {
      for (const way of ways) for (const end of way) end.unpipe();
    },
    stop() {
      for (const way of ways) for (const end of way) end.destroy();
      proxy.close();
    },
  };
}
