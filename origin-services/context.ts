import type { Database } from "@flick/db/client.ts";
import type { Log } from "@flick/platform/log.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";

import type { Cache } from "./cache.ts";
import type { Clients } from "./clients.ts";

/** What every domain closes over. */
export interface Context {
  db: Database;
  cache: Cache;
  objects: ObjectStore;
  /** The other services, wherever they run. */
  clients: Clients;
  log: Log;
  /** Milliseconds since 1970. */
  now: () => number;
  newId: () => number;
}
