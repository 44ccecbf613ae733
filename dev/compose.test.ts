import { describe, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { changeTopic, topics } from "@flick/platform/event-log/topics.ts";

import { mountOf, parseOverlay } from "./compose-file.ts";
import { compose, isFlink, ours, root, servers, serviceNamed, services } from "./testing-compose.ts";

describe("the event log", () => {
  test("has a topic for every table, and one that is made by accident for nothing", async () => {
    const names = topics.map(({ name }) => name);
    for await (const file of new Bun.Glob("*.ts").scan(join(root, "db/schema"))) {
      const text = await readFile(join(root, "db/schema", file), "utf8");
      for (const [, table = ""] of text.matchAll(/mysqlTable\(\s*"(\w+)"/g))
        expect(names).toContain(changeTopic(table));
    }
    expect(serviceNamed("kafka").environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]).toBe("false");
  });

  test("is there with its topics before anybody uses it", () => {
    for (const [name, { environment, depends_on: dependencies }] of services) {
      if (!environment["KAFKA_BROKERS"] || name === "topics") continue;
      expect(dependencies, name).toMatchObject({
        kafka: { condition: "service_healthy" },
        topics: { condition: "service_completed_successfully" },
      });
    }
  });

  test("gets every change once: of Flink and the tailer one runs", async () => {
    const { services: tailer } = parseOverlay(await readFile(join(root, "ops/compose/tailer.yml"), "utf8"));
    const scaled = (name: string) => [serviceNamed(name).scale, tailer[name]?.scale ?? serviceNamed(name).scale];
    expect(scaled("cdc")).toEqual([0, 1]);
    const flink = services.filter(([, service]) => isFlink(service)).map(([name]) => name);
    expect(Object.keys(tailer).toSorted()).toEqual(["cdc", ...flink].toSorted());
    for (const name of flink) expect(scaled(name), name).toEqual([1, 0]);
    // Whoever waited for one of them would wait for ever where it does not run.
    for (const [name, { depends_on: dependencies }] of services) {
      if (flink.includes(name)) continue;
      for (const other of Object.keys(dependencies)) expect(Object.keys(tailer), name).not.toContain(other);
    }
  });
});

describe("health", () => {
  test("of every service that stays up is asked for", () => {
    for (const [name, { healthcheck, restart }] of services) {
      if (restart !== "no") expect(healthcheck?.test?.length, name).toBeGreaterThan(1);
      // The image's own check would ask a server that does not run.
      else expect(healthcheck?.disable, name).toBe(true);
    }
  });

  test("of our programs is asked for at their own port, under a path that they answer", async () => {
    for (const { name, service, port, health } of servers) {
      const check = service.healthcheck?.test?.join(" ") ?? "";
      const [, asked, path = ""] = /http:\/\/127\.0\.0\.1:(\d+)(\/\w+)/.exec(check) ?? [];
      expect(asked, name).toBe(service.environment[port]);
      const answers = await readFile(join(root, health), "utf8");
      expect(answers.includes(`"${path}"`) || answers.includes(`key === "${path.slice(1)}"`), `${name} ${path}`).toBe(
        true,
      );
    }
  });
});

describe("images and files", () => {
  test("every image has the tag of one version, or is built here", () => {
    for (const [name, { image, build }] of services) {
      expect(image, name).toMatch(build ? /^flick-[a-z-]+:local$/ : /^[a-z/]+:\d+\.\d+\.\d+(-[a-z]+)?$/);
    }
  });

  test("every volume and config that is used is declared, and the other way round", async () => {
    const volumes = services.flatMap(([, service]) => service.volumes.map((volume) => volume.replace(/:.*/, "")));
    expect([...new Set(volumes)].toSorted()).toEqual(Object.keys(compose.volumes).toSorted());
    const configs = services.flatMap(([, service]) => service.configs.map((config) => mountOf(config).source));
    expect(configs.toSorted()).toEqual(Object.keys(compose.configs).toSorted());
    for (const { file } of Object.values(compose.configs)) expect(await Bun.file(join(root, file)).exists()).toBe(true);
  });
});

describe("containers", () => {
  test("run as somebody without rights, within limits, with logs that end, and write to memory and their volumes only", () => {
    for (const [name, service] of services) {
      expect(service, name).toMatchObject({
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
        read_only: true,
        logging: { driver: "json-file", options: { "max-size": "10m", "max-file": "3" } },
      });
      expect(service.user, name).toMatch(/^(?!root$|0$)\w+$/);
      expect(service.deploy?.resources.limits, name).toBeDefined();
      for (const mount of service.tmpfs) expect(mount, name).toMatch(/^\/[\w/]+:size=\d+m,mode=1777$/);
      if (service.restart !== "no") expect(service.stop_grace_period, name).toMatch(/^\d+s$/);
    }
  });

  test("of our own run as the image's user and leave no zombies", () => {
    for (const [name, service] of ours) {
      expect(service, name).toMatchObject({ init: true, user: isFlink(service) ? "flink" : "bun" });
    }
  });

  test("of which there are several need nothing of their own", () => {
    for (const [name, { deploy, ports: open, environment }] of services) {
      if ((deploy?.replicas ?? 1) === 1) continue;
      expect({ name, open, node: environment["NODE_ID"] }).toEqual({ name, open: [], node: undefined });
    }
  });
});
