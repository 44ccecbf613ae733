/** A process that serves some of the services, as the registry or the static list names it. */
export interface Instance {
  /** Changes when the process is another one, even at the same address. */
  id: string;
  /** Without a slash at its end. */
  url: string;
  services: readonly string[];
  /** Requests at work in it, as it last said. */
  load: number;
}

/**
 * How an attempt ended:
 * - `answered`: by the instance itself, be it with an error of the call.
 * - `failed`: in a way that says that the instance may not be well: too late, or by a proxy in its place.
 * - `lost`: there was no connection, or it broke.
 * - `draining`: the instance is stopping.
 * - `abandoned`: by the caller; says nothing about the instance.
 */
export type Outcome = "answered" | "failed" | "lost" | "draining" | "abandoned";

export interface Attempt {
  instance: Instance;
  /** Call it once. */
  end(outcome: Outcome): void;
}

/** Decides where calls go. It does no I/O and holds plain data only, so that all requests of an isolate may share it. */
export interface Balancer {
  /** Who there is from now on. What is known of an instance stays with it. */
  update(instances: readonly Instance[]): void;
  /**
   * Chooses an instance for a unary call.
   *
   * @param method what is compared with what: calls of one method take about as long everywhere.
   * @param deadline milliseconds since 1970 after which the call no longer counts as being at work.
   * @param except those that were tried already.
   * @returns null when nobody (else) serves the service.
   */
  begin(service: string, method: string, deadline: number, except: ReadonlySet<string>): Attempt | null;
  /** Chooses one for what may last, a stream: by the load that was announced. */
  beginTransfer(service: string, except: ReadonlySet<string>): Attempt | null;
  /** Is there another one that serves it? */
  hasOther(service: string, except: ReadonlySet<string>): boolean;
  /** Is there another one that was not left out? */
  hasWell(service: string, except: ReadonlySet<string>): boolean;
  /** Has it answered lately? If not, nothing is risked by asking before it is told something that cannot be said twice. */
  isFresh(instance: Instance): boolean;
  /** Takes one retry out of the budget, if there is one. */
  takeRetry(): boolean;
  /** Those whose time out is over: each is to be asked how it is, and `probed` to be told. */
  dueProbes(): Instance[];
  probed(instance: Instance, isWell: boolean): void;
}

/** An instance that was slow is compared fairly again after about this time. */
const latencyDecayMs = 5_000;
/** Differences below this are noise. */
const latencyFloorMs = 5;
/** Slower than this is as bad as anything. */
const maxSlowness = 20;
/** How much one call changes what its method is expected to take. */
const expectationStep = 0.05;

const failuresToEject = 3;
const ejectionMs = { first: 500, longest: 30_000 };
/** An instance that was well for so long begins anew with the shortest ejection. */
const forgivenAfterMs = 60_000;
/** A probe that says nothing for so long was cut off with the request that made it. */
const probeLeaseMs = 2_000;
const freshMs = 1_000;

/** Of its calls, a gateway may repeat a fifth; what it has not used it may save up to a bound. */
const retryBudget = { perCall: 0.2, atStart: 10, most: 100 };

interface State {
  instance: Instance;
  /** Latency in proportion to what was expected of the method, and when that was; null before the first answer. */
  slowness: { value: number; at: number } | null;
  /** Deadlines of the calls at work: on Workers a call whose client has gone may end without a word. */
  calls: Set<{ until: number }>;
  /** Begun here since the load was last announced. */
  transfers: number;
  failures: number;
  answeredAt: number;
  /** Null while it is in. */
  ejectedUntil: number | null;
  ejections: number;
  readmittedAt: number;
  probing: number;
}

/**
 * The power of two choices: of two instances taken at random a call goes to the one with less to do, which is how slow it was lately, times
 * its calls at work. Slowness is a peak-sensitive moving average, as in Finagle's peak EWMA: a slow answer counts at once, and
 * loses its weight with time. An instance that fails is left out for a while, each time for longer, and comes back when it answers a probe
 * (half-open, with nobody's call at risk); the last one that serves something is never left out.
 *
 * @param options.now milliseconds since 1970. @param options.random from 0 to below 1.
 */
export function createBalancer(options: { now: () => number; random: () => number }): Balancer {
  const { now, random } = options;
  let states = new Map<string, State>();
  let pools = new Map<string, State[]>();
  const expected = new Map<string, number>();
  let retries = retryBudget.atStart;
  /** Is there perhaps somebody who was left out? */
  let someAreOut = false;

  function choose(service: string, except: ReadonlySet<string>, costOf: (state: State) => number): State | null {
    const pool = (pools.get(service) ?? []).filter(({ instance }) => !except.has(instance.url));
    const well = pool.filter(isIn);
    // When nobody is known to be well, anybody may be by now.
    const candidates = well.length > 0 ? well : pool;
    const first = Math.floor(random() * candidates.length);
    const second = Math.floor(random() * (candidates.length - 1));
    const one = candidates[first];
    const other = candidates[second < first ? second : second + 1];
    if (!one || !other) return one ?? null;
    return costOf(other) < costOf(one) ? other : one;
  }

  function callCost(state: State): number {
    const atWork = countCalls(state);
    if (!state.slowness) return atWork === 0 ? 0 : atWork + 1;
    return decayed(state.slowness) * (atWork + 1);
  }

  function countCalls({ calls }: State): number {
    // Those that began first end first, more or less.
    for (const call of calls) {
      if (call.until > now()) break;
      calls.delete(call);
    }
    return calls.size;
  }

  function decayed({ value, at }: { value: number; at: number }): number {
    return value * Math.exp((at - now()) / latencyDecayMs);
  }

  function observe(state: State, method: string, ms: number): void {
    const took = Math.max(ms, latencyFloorMs);
    const usual = expected.get(method) ?? took;
    expected.set(method, usual + expectationStep * (took - usual));
    const slowness = Math.min(took / usual, maxSlowness);
    const before = state.slowness ? decayed(state.slowness) : 0;
    const weight = state.slowness ? Math.exp((state.slowness.at - now()) / latencyDecayMs) : 0;
    const value = slowness > before ? slowness : before + slowness * (1 - weight);
    state.slowness = { value, at: now() };
  }

  function record(state: State, outcome: Outcome): void {
    if (outcome === "answered") {
      state.failures = 0;
      state.answeredAt = now();
    } else if (outcome === "failed") {
      state.failures++;
      if (state.failures >= failuresToEject) eject(state);
    } else if (outcome !== "abandoned") eject(state);
  }

  function eject(state: State): void {
    if (!isIn(state)) return;
    const shared = state.instance.services.map((service) => pools.get(service) ?? []);
    if (shared.some((pool) => !pool.some((other) => other !== state && isIn(other)))) {
      // The last one stays, and those that are out are asked soon: they may be better by now.
      const soon = now() + ejectionMs.first;
      for (const other of shared.flat()) {
        if (other.ejectedUntil !== null) other.ejectedUntil = Math.min(other.ejectedUntil, soon);
      }
      return;
    }
    if (now() - state.readmittedAt > forgivenAfterMs) state.ejections = 0;
    leaveOut(state);
  }

  function leaveOut(state: State): void {
    state.ejectedUntil = now() + Math.min(ejectionMs.longest, ejectionMs.first * 2 ** state.ejections);
    state.ejections++;
    state.failures = 0;
    someAreOut = true;
  }

  return {
    update(instances) {
      const kept = states;
      states = new Map();
      pools = new Map();
      for (const instance of instances) {
        const before = kept.get(instance.url);
        const state = before?.instance.id === instance.id ? before : newState(instance);
        state.instance = instance;
        state.transfers = 0;
        states.set(instance.url, state);
        for (const service of new Set(instance.services)) {
          const pool = pools.get(service);
          if (pool) pool.push(state);
          else pools.set(service, [state]);
        }
      }
    },
    begin(service, method, deadline, except) {
      const state = choose(service, except, callCost);
      if (!state) return null;
      const begun = now();
      const call = { until: deadline };
      state.calls.add(call);
      if (except.size === 0) retries = Math.min(retryBudget.most, retries + retryBudget.perCall);
      return {
        instance: state.instance,
        end(outcome) {
          state.calls.delete(call);
          if (outcome === "answered" || outcome === "failed") observe(state, method, now() - begun);
          record(state, outcome);
        },
      };
    },
    beginTransfer(service, except) {
      const state = choose(service, except, ({ instance, transfers }) => instance.load + transfers);
      if (!state) return null;
      state.transfers++;
      return { instance: state.instance, end: (outcome) => record(state, outcome) };
    },
    hasOther: (service, except) => (pools.get(service) ?? []).some(({ instance }) => !except.has(instance.url)),
    hasWell: (service, except) =>
      (pools.get(service) ?? []).some((state) => isIn(state) && !except.has(state.instance.url)),
    isFresh({ url }) {
      const state = states.get(url);
      return state !== undefined && isIn(state) && now() - state.answeredAt < freshMs;
    },
    takeRetry() {
      if (retries < 1) return false;
      retries--;
      return true;
    },
    dueProbes() {
      // Asked with every request.
      if (!someAreOut) return [];
      const out = [...states.values()].filter((state) => !isIn(state));
      someAreOut = out.length > 0;
      const due = out.filter(({ ejectedUntil, probing }) => Math.max(ejectedUntil ?? 0, probing) <= now());
      for (const state of due) state.probing = now() + probeLeaseMs;
      return due.map(({ instance }) => instance);
    },
    probed({ id, url }, isWell) {
      const state = states.get(url);
      if (!state || state.instance.id !== id) return;
      state.probing = 0;
      if (isWell) state.answeredAt = now();
      if (isIn(state)) return;
      if (!isWell) return leaveOut(state);
      state.ejectedUntil = null;
      state.readmittedAt = now();
      // What was measured before its ejection says nothing about it now.
      state.slowness = null;
    },
  };
}

const isIn = ({ ejectedUntil }: State) => ejectedUntil === null;

function newState(instance: Instance): State {
  return {
    instance,
    slowness: null,
    calls: new Set(),
    transfers: 0,
    failures: 0,
    answeredAt: -Infinity,
    ejectedUntil: null,
    ejections: 0,
    readmittedAt: -Infinity,
    probing: 0,
  };
}
