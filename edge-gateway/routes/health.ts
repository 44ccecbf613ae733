import * as v from "valibot";

import { endpoint } from "../endpoint.ts";

export const healthEndpoints = [
  endpoint({
    method: "GET",
    path: "/healthz",
    tag: "Service",
    summary: "Is the gateway up?",
    description: "The gateway itself answers; it asks nobody else.",
    access: "public",
    params: v.object({}),
    answer: v.object({}),
    handle: async () => ({}),
  }),
];
