/**
 * The event log: topics of keyed records, read by consumer groups. Delivery is at least once; records of one key reach a
 * group's handler in the order in which they were published, as long as none of them has to be retried. (Redis Streams has no
 * partitions: there the order holds within each member of the group.) On Kafka every topic must have been created.
 *
 * Two drivers stand behind it: Redis Streams for a single machine, Kafka beyond it; `contract.ts` holds both to this text.
 */
export interface EventLog {
  /**
   * Appends records, at most 10 000 and 32 MiB, all in one step where the driver can; where it cannot, those of the last record's
   * topic only once those of all other topics are durable. Resolves once all are durable; rejects if any may be lost.
   */
  publish(records: readonly EventRecord[]): Promise<void>;

  /** The newest record of a topic, or null. Rejects where the topic has several partitions: there is no order between them. */
  last(topic: string): Promise<ReceivedEvent | null>;

  /**
   * Delivers every record of the topics to one member of the group. A group that is new starts at the oldest record kept.
   * Resolves when the member has joined.
   */
  subscribe(options: SubscribeOptions): Promise<Subscription>;

  /** Records of a topic that the group has not acknowledged yet. */
  lag(topic: string, group: string): Promise<number>;

  /** The groups that have read from a topic. */
  groups(topic: string): Promise<string[]>;

  /** Dead letters of a topic, oldest first, at most `limit`. */
  deadLetters(topic: string, limit: number): Promise<DeadLetter[]>;

  /** Publishes up to `limit` of the oldest dead letters to their topic again and removes them; returns how many. */
  replay(topic: string, limit: number): Promise<number>;

  /**
   * Creates those of the topics that are missing and returns their names; where topics come by themselves, none. Rejects when one that
   * is there has too few partitions.
   */
  createTopics(specs: readonly TopicSpec[]): Promise<string[]>;

  /** Rejects, with the command that creates topics, when one of these is missing. */
  checkTopics(names: Iterable<string>): Promise<void>;

  /** Closes every subscription (see {@link Subscription.close}), then the connections. */
  close(): Promise<void>;
}

export interface EventRecord {
  topic: string;
  /** Records of one key stay in order. At most 255 characters. */
  key: string;
  /** At most 1 MiB of UTF-8. */
  value: string;
}

export interface TopicSpec {
  name: string;
  /** Most members of a group that can share the topic. Default: what the driver was told. */
  partitions?: number;
  /** How long records are kept. Default 7 days. */
  retentionMs?: number;
  /** Keeps the newest record of each key for ever, and older ones for a while. */
  compact?: boolean;
}

export interface ReceivedEvent extends EventRecord {
  /** The driver's name for its place in the topic. */
  id: string;
  /** 1 at the first delivery. */
  attempt: number;
}

export interface DeadLetter extends EventRecord {
  id: string;
  group: string;
  /** The driver's name for its place in the topic that it came from. */
  origin: string;
  attempts: number;
  /** Message of the error that the last attempt ended with. */
  reason: string;
  /** Milliseconds since 1970. */
  failedAt: number;
}

export interface SubscribeOptions {
  group: string;
  topics: readonly string[];
  /**
   * Resolving acknowledges the record; throwing asks for another delivery. A delivery may be repeated, also after a success.
   * The signal aborts when the subscription is closed and its drain time is over, and where the driver knows of it, when the record
   * was given to another member.
   */
  handler: (event: ReceivedEvent, signal: AbortSignal) => Promise<void>;
  /** Handlers at work at once in this member; records of one key never overlap. Default 16. */
  concurrency?: number;
  /**
   * Waits before the 2nd, 3rd, … delivery in milliseconds; after the last one the record becomes a dead letter.
   * Default 1 s, 5 s, 30 s.
   */
  retryDelaysMs?: readonly number[];
  /** Told of every failed delivery. */
  onError?: (event: ReceivedEvent, error: unknown, outcome: "retry" | "dead letter") => void;
}

export interface Subscription {
  /** Stops taking records, waits up to `drainMs` (default 10 s) for handlers at work, gives unfinished records back. */
  close(drainMs?: number): Promise<void>;
}
