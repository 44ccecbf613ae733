import { answerProblems, createGateway, type Gateway } from "./gateway.ts";

/** Made by an isolate's first request, for all those that follow. */
let gateway: Gateway | undefined;

/** The gateway as a Cloudflare Worker. */
export default {
  fetch(request, bindings, context) {
    gateway ??= createGateway(bindings, { addressOf: (c) => c.req.header("cf-connecting-ip") });
    if ("app" in gateway) return gateway.app.fetch(request, bindings, context);
    const { problems } = gateway;
    // New bindings come with a new isolate on Cloudflare, but not everywhere.
    gateway = undefined;
    return answerProblems(problems);
  },
} satisfies ExportedHandler<Record<string, unknown>>;
