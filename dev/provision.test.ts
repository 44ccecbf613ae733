import { afterAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { aptInstall, planProvision, type Machine } from "./provision.ts";

const debian: Machine = {
  platform: "linux",
  root: true,
  osRelease: { ID: "debian", VERSION_ID: "12" },
  packageManagers: ["apt-get"],
};

test("nothing is done when nothing is missing", () => {
  expect(planProvision([], debian)).toEqual({ do: "nothing" });
});

test("root on Debian gets what is missing installed, and no more", () => {
  expect(planProvision(["redis"], debian)).toEqual({ do: "install", packages: ["redis-server"] });
  expect(planProvision(["mariadb", "ffmpeg"], debian)).toEqual({
    do: "install",
    packages: ["mariadb-server-core", "mariadb-client-core", "ffmpeg"],
  });
});

test("bubblewrap is installed where that needs no asking, and nobody is asked for it", () => {
  const plan = planProvision(["ffmpeg", "bubblewrap"], debian);
  expect(plan).toEqual({ do: "install", packages: ["ffmpeg", "bubblewrap"] });
  const user = { ...debian, root: false };
  expect(planProvision(["bubblewrap"], user)).toEqual({ do: "nothing" });
  expect(planProvision(["ffmpeg", "bubblewrap"], user)).toMatchObject({ do: "ask", missing: ["ffmpeg"] });
  const mac: Machine = { ...debian, platform: "darwin", packageManagers: ["brew"] };
  expect(planProvision(["bubblewrap"], mac)).toEqual({ do: "nothing" });
});

test("releases that have MariaDB's programs under a versioned name only get the whole server", () => {
  const jammy = { ...debian, osRelease: { ID: "ubuntu", ID_LIKE: "debian", VERSION_ID: "22.04" } };
  expect(planProvision(["mariadb"], jammy)).toEqual({ do: "install", packages: ["mariadb-server"] });
  const noble = { ...debian, osRelease: { ID: "ubuntu", ID_LIKE: "debian", VERSION_ID: "24.04" } };
  expect(planProvision(["mariadb"], noble)).toMatchObject({ packages: ["mariadb-server-core", "mariadb-client-core"] });
  const mint = { ...debian, osRelease: { ID: "linuxmint", ID_LIKE: "ubuntu debian", VERSION_ID: "22" } };
  expect(planProvision(["mariadb"], mint)).toEqual({ do: "install", packages: ["mariadb-server"] });
});

test("anybody but root is told the exact command for this system", () => {
  const asked = (machine: Partial<Machine>) => {
    const plan = planProvision(["mariadb", "redis", "ffmpeg"], { ...debian, root: false, ...machine });
    return plan.do === "ask" ? plan.command : plan;
  };
  expect(asked({})).toBe(
    "sudo apt-get install -y --no-install-recommends mariadb-server-core mariadb-client-core redis-server ffmpeg",
  );
  expect(asked({ platform: "darwin", osRelease: {}, packageManagers: ["brew"] })).toBe(
    "brew install mariadb redis ffmpeg",
  );
  expect(asked({ osRelease: { ID: "fedora", VERSION_ID: "43" }, packageManagers: ["dnf"] })).toBe(
    "sudo dnf install -y mariadb-server valkey ffmpeg",
  );
  expect(asked({ osRelease: { ID: "arch" }, packageManagers: ["pacman"] })).toBe(
    "sudo pacman -S --needed mariadb valkey ffmpeg",
  );
  expect(asked({ osRelease: { ID: "slackware" }, packageManagers: [] })).toBeNull();
});

test("root of another system than Debian is asked, too, but without sudo", () => {
  const fedora: Machine = {
    platform: "linux",
    root: true,
    osRelease: { ID: "fedora" },
    packageManagers: ["dnf", "apt-get"],
  };
  expect(planProvision(["redis"], fedora)).toEqual({ do: "ask", missing: ["redis"], command: "dnf install -y valkey" });
});

/** Runs the installation with a stand-in for apt-get that writes down how it was called and what policy it met. */
async function install(aptGet: string) {
  const dir = await mkdtemp(join(tmpdir(), "flick-apt-"));
  afterAll(() => rm(dir, { recursive: true, force: true }));
  const [log, policyFile] = [join(dir, "log"), join(dir, "policy-rc.d")];
  await writeFile(join(dir, "apt-get"), `#!/bin/sh\necho "$* policy=$(tail -n 1 ${policyFile})" >>${log}\n${aptGet}\n`);
  await chmod(join(dir, "apt-get"), 0o755);
  const path = process.env.PATH;
  return {
    policyFile,
    calls: async () => (await readFile(log, "utf8")).trim().split("\n"),
    async run() {
      process.env.PATH = `${dir}:${path}`;
      try {
        await aptInstall(["a-package"], { policyFile });
      } finally {
        process.env.PATH = path;
      }
    },
  };
}

test("while packages are installed no service may start, and afterwards nothing of that is left", async () => {
  const { run, calls, policyFile } = await install("exit 0");
  await run();
  expect(await calls()).toEqual([
    "-q install -y --no-install-recommends -o DPkg::Lock::Timeout=120 a-package policy=exit 101",
  ]);
  expect(existsSync(policyFile)).toBe(false);
});

test("a policy of the machine's own is left as it is, one that we left behind is not", async () => {
  const { run, policyFile } = await install("exit 0");
  await writeFile(policyFile, "#!/bin/sh\nexit 0\n");
  await run();
  expect(await readFile(policyFile, "utf8")).toBe("#!/bin/sh\nexit 0\n");
  await writeFile(
    policyFile,
    "#!/bin/sh\n# Written by the local Flick stack for the time of an installation.\nexit 101\n",
  );
  await run();
  expect(existsSync(policyFile)).toBe(false);
});

test("the package lists are brought up to date only when an installation without that fails", async () => {
  const { run, calls } = await install('case "$*" in *update*) touch "$0.updated";; *) [ -e "$0.updated" ];; esac');
  await run();
  expect((await calls()).map((call) => call.split(" ")[1])).toEqual(["install", "update", "install"]);
});

test("when apt-get fails, its last words are shown and the policy is removed", async () => {
  const { run, policyFile } = await install("echo 'E: no network' >&2; exit 100");
  await expect(run()).rejects.toThrow(/could not install a-package \(exit code 1\):\n[^]*E: no network/);
  expect(existsSync(policyFile)).toBe(false);
});
