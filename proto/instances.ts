import { publicKeysPath } from "./public-keys.ts";

/**
 * How gateways find origins. Every origin process that is told its own address (`ADVERTISE_URL`) keeps a lease in a Redis hash, and
 * gateways read the hash.
 *
 * - Key: `instancesKey`. Field: the URL at which gateways reach the process, so that a process that is started again takes its own place.
 * - Value: `<lease ends, ms since 1970 by Redis' clock> <process id> <NODE_ID> <JSON>`, with the JSON of an {@link Announcement}.
 *
 * A lease is renewed every few seconds. Whoever renews removes those that have ended and whatever is not of this form, and the key itself
 * lives no longer than the newest lease; so readers need no clock, and the dead disappear by themselves.
 */
export const instancesKey = "origins";

/** Processes that may be announced at once. */
export const maxInstances = 64;

export interface Announcement {
  /** What it serves, as in `SERVICES`. */
  services: readonly string[];
  version: string;
  /** Requests at work in it when it last renewed its lease. */
  load: number;
}

/**
 * On a 503: this process is stopping and has not begun with the call, so that it may be made elsewhere, whatever it is. Everything else that it
 * was given before is finished.
 */
export const drainingHeader = "x-flick-draining";

/** The service that a path of gRPC-web, of a stream or of the key set belongs to: `/flick.user.v1.UserService/Login` to `user`. */
export function serviceOfPath(path: string): string {
  if (path === publicKeysPath) return "user";
  return /^\/flick\.(\w+)\.v\d+\./.exec(path)?.[1] ?? "";
}
