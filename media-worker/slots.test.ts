import { expect, test } from "bun:test";

import { createSlots } from "./slots.ts";

const forever = AbortSignal.any([]);

test("no more run at once than there are slots, and they run in their order", async () => {
  const slots = createSlots(() => 2);
  let now = 0;
  let most = 0;
  const order: number[] = [];
  const work = (i: number) => async () => {
    order.push(i);
    most = Math.max(most, ++now);
    await Bun.sleep(Math.random() * 3);
    now--;
  };
  await Promise.all(Array.from({ length: 30 }, (_, i) => slots.use(work(i), forever)));
  expect(most).toBe(2);
  expect(order).toEqual(Array.from({ length: 30 }, (_, i) => i));
});

test("who gives up waiting takes no slot, and who fails gives it back", async () => {
  const slots = createSlots(() => 1);
  const gate = Promise.withResolvers<void>();
  const first = slots.use(() => gate.promise, forever);
  const abort = new AbortController();
  const second = slots.use(async () => "second", abort.signal);
  const third = slots.use(async () => "third", forever);
  abort.abort(new Error("enough"));
  await expect(second).rejects.toThrow("enough");
  gate.reject(new Error("broken"));
  await expect(first).rejects.toThrow("broken");
  expect(await third).toBe("third");
});

test("an abort in the same moment as a free slot loses no slot", async () => {
  const slots = createSlots(() => 1);
  const gate = Promise.withResolvers<void>();
  const abort = new AbortController();
  const first = slots.use(() => gate.promise, forever).then(() => abort.abort(new Error("enough")));
  const second = slots.use(async () => "second", abort.signal).catch(() => "gave up");
  gate.resolve();
  await Promise.all([first, second]);
  expect(await slots.use(async () => "third", AbortSignal.timeout(1_000))).toBe("third");
});

test("places that come are taken by those who wait, and when places go, nobody is sent away", async () => {
  let count = 2;
  const slots = createSlots(() => count);
  const gates = [1, 2, 3, 4].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  const all = gates.map((gate, index) =>
    slots.use(() => {
      begun.push(index);
      return gate.promise;
    }, forever),
  );
  await Bun.sleep(0);
  expect(begun).toEqual([0, 1]);
  count = 0;
  gates[0]?.resolve();
  await all[0];
  expect(begun).toEqual([0, 1]);
  count = 3;
  slots.admit();
  await Bun.sleep(0);
  expect(begun).toEqual([0, 1, 2, 3]);
  for (const gate of gates) gate.resolve();
  await Promise.all(all);
});
