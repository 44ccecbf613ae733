/** A part of kafkajs 2.2.4 that it does not export; see {@link file://./kafka-client.ts}. */
declare module "kafkajs/src/network/requestQueue/index.js" {
  export default class RequestQueue {
    pending: unknown[];
    scheduleCheckPendingRequests(): void;
  }
}
