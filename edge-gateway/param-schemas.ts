import * as v from "valibot";

type Entries = v.ObjectEntries;
type ActionEntries = Entries & { action_type: v.GenericSchema<string, string> };

/** Parameters are text on their way in, wherever they came from; a variant is told by its `action_type`. */
export type ParamsSchema =
  | v.ObjectSchema<Entries, undefined>
  | v.VariantSchema<"action_type", v.ObjectSchema<ActionEntries, undefined>[], string>;

const tooLarge = "must be a whole number below 2^53.";

/**
 * Digits and, because old clients send ids as formatted floats, also `1234567.0` and `1.234567e+06` (whose plus sign an unencoded
 * query turns into a space). No flags: it stands in the OpenAPI document, too.
 */
const wholeForm = /^(\d{1,64})(?:\.(\d{0,64}))?(?:[eE]([+\- ]?)(\d{1,2}))?$/;

interface About {
  description: string;
  examples: [number];
  minimum?: number;
}

/** Text to a bigint from 0 up to 2^53. In a JSON body a number will do as well as its text, so both are documented. */
function whole(about: About) {
  return v.pipe(
    v.string(),
    v.regex(wholeForm, tooLarge),
    v.metadata({ type: ["integer", "string"], minimum: 0, maximum: Number.MAX_SAFE_INTEGER, ...about }),
    v.rawTransform(({ dataset, addIssue, NEVER }): bigint => {
      const number = wholeNumber(dataset.value);
      if (number !== null && number <= BigInt(Number.MAX_SAFE_INTEGER)) return number;
      addIssue({ message: tooLarge });
      return NEVER;
    }),
  );
}

const anId = 7_312_345_678_901_234;

/** An id or a cursor, a whole number from 0 up to 2^53; 0n when absent. */
export function idParam(description: string, example = anId) {
  return v.optional(whole({ description, examples: [example] }), "0");
}

/** An id that the call cannot do without. */
export function requiredIdParam(description: string, example = anId) {
  return v.pipe(
    whole({ description, examples: [example], minimum: 1 }),
    v.check((id) => id > 0n, "must be a whole number above 0."),
  );
}

/** A whole number that may be 0, from 0 up to 2^53, which the call cannot do without. */
export function wholeParam(description: string, example: number) {
  return whole({ description, examples: [example] });
}

/**
 * What `action_type` asks for, as a word: the first of the actions under 1, the second under 2. Takes numbers in the forms of
 * {@link idParam}.
 */
export function actionParam<const Actions extends readonly string[]>(...actions: Actions) {
  return actionOf(actions, actions);
}

/** The same where other parameters hang on it: the `action_type` of one option of a variant. */
export function actionIs<const Actions extends readonly string[], const Action extends Actions[number]>(
  actions: Actions,
  action: Action,
) {
  return v.pipe(actionOf(actions, [action]), v.literal(action));
}

/** @param documented those that the OpenAPI document tells of. */
function actionOf<Actions extends readonly string[]>(actions: Actions, documented: readonly string[]) {
  const numbers = documented.map((name) => actions.indexOf(name) + 1);
  return v.pipe(
    v.string(),
    v.metadata({
      type: ["integer", "string"],
      description: listOf(actions, documented),
      enum: numbers.flatMap((number) => [number, String(number)]),
      examples: numbers.slice(0, 1),
    }),
    v.rawTransform(({ dataset, addIssue, NEVER }): Actions[number] => {
      const number = wholeNumber(dataset.value);
      const action = number === null ? undefined : actions[Number(number) - 1];
      if (action !== undefined) return action;
      addIssue({ message: actionMessage(...actions) });
      return NEVER;
    }),
  );
}

/** Says what the `action_type` of a variant must be. */
export const actionMessage = (...actions: readonly string[]) => `must be ${listOf(actions)}.`;

const listOf = (actions: readonly string[], named = actions) =>
  named.map((name) => `${actions.indexOf(name) + 1} (${name})`).join(" or ");

/** How many things a page may hold: at most `most`, whatever was asked for; 0, which leaves it to the service, when absent. */
export function countParam(description: string, most: number) {
  return v.pipe(
    idParam(`${description} ${most} at most, whatever is asked for; 0 means ${most}.`, 20),
    v.transform((count) => (count > BigInt(most) ? most : Number(count))),
  );
}

/** Where a page of a list begins (0n for its head) and how much it may hold; see {@link countParam}. */
export function pageParams(most: number) {
  return {
    cursor: idParam("`next_cursor` of the page before; 0 for the first page."),
    count: countParam("How many to list.", most),
  };
}

/** Text. What limits are given here are documented only: the service that takes the text has the last word on it. */
export function textParam(
  description: string,
  example: string,
  limits: { minLength?: number; maxLength?: number; format?: string } = {},
) {
  return v.pipe(v.string(), v.metadata({ description, examples: [example], minLength: 1, ...limits }));
}

/** A file in a multipart body. */
export function fileParam(description: string) {
  return v.pipe(v.file(), v.metadata({ description }));
}

/** Clocks of the edge and of the origin may differ by this much; a page's own `next_time` must never count as the future. */
const clockSkewMs = 60_000;

/** Numbers above this are milliseconds: as seconds they would be in the year 5138. */
const mostSeconds = 1e11;

/** A moment in milliseconds since 1970, given in seconds or milliseconds; 0n, which means now, when absent, 0, negative or in the future. */
export function timeParam(description: string, now: () => number = Date.now) {
  return v.optional(
    v.pipe(
      v.string(),
      v.regex(/^[+-]?\d+(\.\d*)?([eE][+\- ]?\d+)?$/, "must be a time in seconds or milliseconds since 1970."),
      v.metadata({ type: ["integer", "string"], description, examples: [1_790_000_000_123] }),
      v.transform((text): bigint => {
        const time = Number(text.replace(" ", "+"));
        const ms = Math.floor(time > mostSeconds ? time : time * 1000);
        return ms <= 0 || ms > now() + clockSkewMs ? 0n : BigInt(ms);
      }),
    ),
    "0",
  );
}

/** Exact, where a float would round what is beyond 2^53. Null for anything but a whole number that is not negative. */
function wholeNumber(text: string): bigint | null {
  const match = wholeForm.exec(text);
  if (!match) return null;
  const [, units = "", fraction = "", sign = "", exponent = "0"] = match;
  const digits = BigInt(units + fraction);
  const shift = (sign === "-" ? -1 : 1) * Number(exponent) - fraction.length;
  if (shift >= 0) return digits * 10n ** BigInt(shift);
  const divisor = 10n ** BigInt(-shift);
  return digits % divisor === 0n ? digits / divisor : null;
}
