import { compareSync, hashSync } from "bcryptjs";

import type { PasswordTask } from "./passwords.ts";

declare const self: Worker;

self.addEventListener("message", (event: MessageEvent<PasswordTask>) => {
  const task = event.data;
  self.postMessage("hash" in task ? compareSync(task.prehash, task.hash) : hashSync(task.prehash, task.cost));
});
