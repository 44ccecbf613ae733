import * as v from "valibot";

const httpUrl = "must be a URL that begins with http:// or https://";
/** As many as may announce themselves. */
const maxStaticOrigins = 64;
const httpUrls = `must be a URL that begins with http:// or https://, or up to ${maxStaticOrigins} of them with commas between them`;
const restToken = "must be the token of the Redis at UPSTASH_REDIS_REST_URL";
const isHttpUrl = (text: string) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);

/** Numbers come as such, or as text. */
function wholeNumber(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d+$/), v.transform(Number))], message),
    v.check((value) => Number.isInteger(value) && value >= min && value <= max, message),
  );
}

const network = "must be a binding that fetches: a VPC network or an mTLS certificate";

/** A way to the origins that is not the open Internet. */
export interface OriginNetwork {
  fetch(url: string, init: RequestInit): Promise<Response>;
}

function isNetwork(binding: unknown): boolean {
  return typeof binding === "object" && binding !== null && "fetch" in binding;
}

/** What the gateway is told by its bindings; wrangler.toml describes each. */
const bindings = v.object({
  ORIGIN_URL: v.pipe(
    v.string(httpUrls),
    v.transform((text) => text.split(",").map((url) => url.trim().replace(/\/+$/, ""))),
    v.check((urls) => urls.length <= maxStaticOrigins && urls.every(isHttpUrl), httpUrls),
  ),
  ORIGIN_NETWORK: v.optional(v.custom<OriginNetwork>(isNetwork, network)),
  UPSTASH_REDIS_REST_URL: v.optional(v.pipe(v.string(httpUrl), v.check(isHttpUrl, httpUrl))),
  UPSTASH_REDIS_REST_TOKEN: v.optional(v.pipe(v.string(restToken), v.minLength(1, restToken))),
  MAX_UPLOAD_BYTES: wholeNumber(1024, 4_000_000_000),
  IP_LIMIT_FACTOR: v.optional(wholeNumber(1, 100_000), 1),
});

/** What a runtime without bindings looks for in its environment. */
export const bindingNames = Object.keys(bindings.entries).filter((name) => name !== "ORIGIN_NETWORK");

export type Settings = v.InferOutput<typeof bindings>;

/** The settings, or one sentence for each binding that is not as it must be. The sentences never quote a value. */
export function readBindings(env: unknown): { settings: Settings } | { problems: string[] } {
  const result = v.safeParse(bindings, env);
  if (result.success) {
    const { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token } = result.output;
    if (Boolean(url) === Boolean(token)) return { settings: result.output };
    return { problems: [`UPSTASH_REDIS_REST_${url ? "TOKEN" : "URL"} is missing`] };
  }
  return {
    problems: result.issues.map((issue) => {
      const name = v.getDotPath(issue) ?? "bindings";
      return issue.input === undefined ? `${name} is missing` : `${name} ${issue.message}`;
    }),
  };
}
