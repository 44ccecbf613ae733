import * as v from "valibot";

const Mount = v.union([v.string(), v.object({ source: v.string(), target: v.string() })]);
const FileEntries = v.record(v.string(), v.object({ file: v.string() }));

const Service = v.object({
  image: v.string(),
  build: v.optional(v.object({ context: v.string(), dockerfile: v.optional(v.string(), "Dockerfile") })),
  user: v.optional(v.string()),
  command: v.optional(v.array(v.string())),
  environment: v.optional(v.record(v.string(), v.string()), {}),
  secrets: v.optional(v.array(Mount), []),
  configs: v.optional(v.array(Mount), []),
  volumes: v.optional(v.array(v.string()), []),
  ports: v.optional(v.array(v.string()), []),
  networks: v.pipe(
    v.union([v.array(v.string()), v.record(v.string(), v.object({ aliases: v.array(v.string()) }))]),
    v.transform((given): Record<string, { aliases: string[] }> =>
      Array.isArray(given) ? Object.fromEntries(given.map((name) => [name, { aliases: [] }])) : given,
    ),
  ),
  depends_on: v.optional(v.record(v.string(), v.object({ condition: v.string() })), {}),
  healthcheck: v.optional(v.object({ test: v.optional(v.array(v.string())), disable: v.optional(v.boolean()) })),
  restart: v.optional(v.string()),
  scale: v.optional(v.number(), 1),
  stop_grace_period: v.optional(v.string()),
  init: v.optional(v.boolean()),
  read_only: v.optional(v.boolean()),
  tmpfs: v.optional(v.array(v.string()), []),
  cap_drop: v.optional(v.array(v.string())),
  security_opt: v.optional(v.array(v.string())),
  logging: v.optional(v.object({ driver: v.string(), options: v.record(v.string(), v.string()) })),
  deploy: v.optional(
    v.object({
      resources: v.object({ limits: v.object({ cpus: v.string(), memory: v.string(), pids: v.number() }) }),
      replicas: v.optional(v.number()),
    }),
  ),
});

const ComposeFile = v.object({
  services: v.record(v.string(), Service),
  networks: v.record(v.string(), v.object({ internal: v.optional(v.boolean(), false) })),
  volumes: v.record(v.string(), v.null()),
  configs: FileEntries,
  secrets: FileEntries,
});

const Overlay = v.object({
  name: v.optional(v.string()),
  services: v.record(
    v.string(),
    v.object({
      profiles: v.optional(v.array(v.string()), []),
      ports: v.optional(v.array(v.string()), []),
      networks: v.optional(v.unknown()),
      environment: v.optional(v.record(v.string(), v.string()), {}),
      scale: v.optional(v.number()),
      secrets: v.optional(v.array(v.object({ source: v.string(), target: v.string() })), []),
    }),
  ),
  secrets: v.optional(v.record(v.string(), v.object({ file: v.string() })), {}),
});

/** One service of a Compose file, as far as we use them. */
export type ComposeService = v.InferOutput<typeof Service>;

/** A Compose file as it is used when no variable is set. @throws when it is not of the form that ours has. */
export function parseComposeFile(text: string): v.InferOutput<typeof ComposeFile> {
  return v.parse(ComposeFile, interpolate(Bun.YAML.parse(text)));
}

/** A file that is put over a Compose file, as far as ours go. @throws when it is not of their form. */
export function parseOverlay(text: string): v.InferOutput<typeof Overlay> {
  return v.parse(Overlay, Bun.YAML.parse(text));
}

/** Where a secret or config is found inside a container, and its name. */
export function mountOf(mount: v.InferOutput<typeof Mount>): { source: string; target: string } {
  return typeof mount === "string" ? { source: mount, target: `/run/secrets/${mount}` } : mount;
}

/** Puts the defaults in the place of variables in every text, as Compose does after it has read the YAML. */
function interpolate(value: unknown): unknown {
  if (typeof value === "string") return withDefaults(value).replaceAll("$$", "$");
  if (Array.isArray(value)) return value.map(interpolate);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, interpolate(item)]));
}

/** Replaces `${NAME:-default}` by the default, from the inside out. */
function withDefaults(text: string): string {
  const once = text.replaceAll(/\$\{\w+:-([^${}]*)\}/g, "$1");
  return once === text ? text : withDefaults(once);
}
