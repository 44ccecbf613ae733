import { expect, test } from "bun:test";

import { assignPartitions, type MemberClaims, type Partitions } from "./kafka-assigner.ts";

const twelve = () => 12;

test("new members get equal shares of every topic, and all of it", () => {
  const assigned = assignPartitions([member("a"), member("b"), member("c")], () => 7);
  for (const topic of ["t", "u"]) {
    const shares = [...assigned.values()].map((partitions) => partitions[topic] ?? []);
    expect(shares.flat().toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(shares.map(({ length }) => length).toSorted((a, b) => a - b)).toEqual([2, 2, 3]);
  }
});

test("topics with one partition each do not all go to the same member", () => {
  const topics = ["a", "b", "c", "d"];
  const members = [member("1", {}, {}, topics), member("2", {}, {}, topics)];
  const loads = [...assignPartitions(members, () => 1).values()].map((partitions) => Object.keys(partitions).length);
  expect(loads).toEqual([2, 2]);
});

test("a member that comes gets what others can spare, and nothing else moves", () => {
  const before = { t: [0, 1, 2, 3, 4, 5] };
  const other = { t: [6, 7, 8, 9, 10, 11] };
  const assigned = assignPartitions([member("a", before), member("b", other), member("c")], twelve);
  expect(before.t).toEqual(expect.arrayContaining(assigned.get("a")?.["t"] ?? []));
  expect(other.t).toEqual(expect.arrayContaining(assigned.get("b")?.["t"] ?? []));
  expect([...assigned.values()].map(({ t }) => t?.length)).toEqual([4, 4, 4]);
});

test("a partition where a handler is at work stays where it is", () => {
  const all = { t: [0, 1, 2, 3] };
  const assigned = assignPartitions([member("a", all, { t: [2, 3, 1] }), member("b")], () => 4);
  expect(assigned.get("a")).toMatchObject({ t: [1, 2, 3] });
  expect(assigned.get("b")).toMatchObject({ t: [0] });
});

test("the partitions of a member that has gone are spread over the others", () => {
  const assigned = assignPartitions([member("a", { t: [0, 1, 2, 3] }), member("b", { t: [4, 5, 6, 7] })], twelve);
  expect(assigned.get("a")?.["t"]).toHaveLength(6);
  expect(assigned.get("a")?.["t"]).toEqual(expect.arrayContaining([0, 1, 2, 3]));
  expect(assigned.get("b")?.["t"]).toHaveLength(6);
});

test("of two members that claim one partition, the one at work in it keeps it", () => {
  const claims = { t: [0] };
  const assigned = assignPartitions([member("a", claims), member("b", claims, claims)], () => 1);
  expect(assigned.get("b")).toMatchObject({ t: [0] });
  expect(assigned.get("a")?.["t"]).toBeUndefined();
});

test("nobody gets a topic that it has not asked for", () => {
  const assigned = assignPartitions([member("a", {}, {}, ["t"]), member("b", {}, {}, ["u"])], () => 3);
  expect(assigned.get("a")).toEqual({ t: [0, 1, 2] });
  expect(assigned.get("b")).toEqual({ u: [0, 1, 2] });
});

function member(id: string, owned: Partitions = {}, busy: Partitions = {}, topics = ["t", "u"]): MemberClaims {
  return { id, topics, owned, busy };
}
