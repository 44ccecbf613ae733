import type { LogLevel } from "../log.ts";
import { choice, section } from "./settings.ts";

/** What the programs that log by `platform/log.ts` let an operator say about it. */
export const logSettings = section({
  level: choice({
    default: "environment",
    of: ["environment", "debug", "info", "warn", "error"],
    what: "the lowest level that is logged; `environment` is what LOG_LEVEL says",
  }),
});

/** @param fromEnvironment what LOG_LEVEL says. */
export function logLevelOf(settings: { level: LogLevel | "environment" }, fromEnvironment: LogLevel): LogLevel {
  return settings.level === "environment" ? fromEnvironment : settings.level;
}
