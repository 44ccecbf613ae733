import { AssignerProtocol, type PartitionAssigner } from "kafkajs";

/** Partition numbers by topic. */
export type Partitions = Record<string, number[]>;

/** What a member tells the group about itself when it joins. */
export interface MemberClaims {
  id: string;
  topics: readonly string[];
  /** What it has had so far. */
  owned: Partitions;
  /** Where its handlers are at work. */
  busy: Partitions;
}

const version = 0;
const { MemberMetadata, MemberAssignment } = AssignerProtocol;

/**
 * The group's protocol: whoever leads it spreads the partitions by {@link assignPartitions}. `onJoin` is called each time this
 * member is about to join and tells what it has; until the new assignment comes it must start nothing in partitions that it
 * has not called busy.
 */
export function stickyAssigner(onJoin: () => Pick<MemberClaims, "owned" | "busy">): PartitionAssigner {
  return ({ cluster }) => ({
    name: "FlickSticky",
    version,
    protocol({ topics }) {
      const userData = Buffer.from(JSON.stringify(onJoin()));
      return { name: this.name, metadata: MemberMetadata.encode({ version, topics, userData }) };
    },
    async assign({ members }) {
      const claims = members.map(({ memberId, memberMetadata }) => {
        const decoded = MemberMetadata.decode(memberMetadata);
        return { id: memberId, topics: decoded?.topics ?? [], ...readClaims(decoded?.userData) };
      });
      const countOf = (topic: string) => cluster.findTopicPartitionMetadata(topic).length;
      return [...assignPartitions(claims, countOf)].map(([memberId, assignment]) => ({
        memberId,
        memberAssignment: MemberAssignment.encode({ version, assignment, userData: Buffer.alloc(0) }),
      }));
    },
  });
}

/**
 * Gives every partition to one member of those that want its topic. As few as possible change hands, and none of those where a
 * handler is at work, so that a member that comes does not cost the others what they have begun; within these bounds each topic
 * is spread evenly.
 */
export function assignPartitions(
  members: readonly MemberClaims[],
  countOf: (topic: string) => number,
): Map<string, Partitions> {
  const byId = members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const result = new Map<string, Partitions>(byId.map(({ id }) => [id, {}]));
  const total = new Map<string, number>(byId.map(({ id }) => [id, 0]));
  const topics = [...new Set(byId.flatMap((member) => member.topics))].toSorted();
  for (const topic of topics) {
    const wanting = byId.filter((member) => member.topics.includes(topic));
    const shares = spread(topic, wanting, countOf(topic), total);
    for (const { id, partitions } of shares) {
      if (partitions.length === 0) continue;
      (result.get(id) ?? {})[topic] = partitions.toSorted((a, b) => a - b);
      total.set(id, (total.get(id) ?? 0) + partitions.length);
    }
  }
  return result;
}

interface Share {
  id: string;
  partitions: number[];
  /** Of these, the ones that stay. */
  busy: Set<number>;
}

function spread(
  topic: string,
  members: readonly MemberClaims[],
  count: number,
  total: ReadonlyMap<string, number>,
): Share[] {
  const shares: Share[] = members.map(({ id }) => ({ id, partitions: [], busy: new Set() }));
  const fewest = () => shares.reduce((best, share) => (load(share) < load(best) ? share : best));
  // Fewest of this topic first, then fewest of all topics.
  const load = (share: Share) => share.partitions.length + (total.get(share.id) ?? 0) / 1e6;
  const free: number[] = [];
  for (let partition = 0; partition < count; partition++) {
    const claims = (kind: "owned" | "busy") => members.findIndex((member) => member[kind][topic]?.includes(partition));
    const busy = claims("busy");
    const share = shares[busy >= 0 ? busy : claims("owned")];
    if (!share) free.push(partition);
    else share.partitions.push(partition);
    if (busy >= 0) share?.busy.add(partition);
  }
  if (shares.length === 0) return shares;
  for (const partition of free) fewest().partitions.push(partition);
  for (;;) {
    const least = fewest();
    const movable = shares.filter(({ partitions, busy }) => partitions.length > busy.size);
    const most = movable.reduce<Share | null>(
      (best, share) => (best && load(best) >= load(share) ? best : share),
      null,
    );
    if (!most || most.partitions.length - least.partitions.length < 2) return shares;
    const index = most.partitions.findLastIndex((partition) => !most.busy.has(partition));
    least.partitions.push(...most.partitions.splice(index, 1));
  }
}

/** A member of another version than ours claims nothing. */
function readClaims(userData: Buffer | undefined): Pick<MemberClaims, "owned" | "busy"> {
  try {
    const { owned, busy } = JSON.parse((userData ?? "").toString()) as Partial<MemberClaims>;
    return { owned: owned ?? {}, busy: busy ?? {} };
  } catch {
    return { owned: {}, busy: {} };
  }
}
