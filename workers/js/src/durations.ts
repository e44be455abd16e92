/** Durations: whole milliseconds on the wire. */

/** 100 years, in ms. */
export const LONGEST = 100 * 365 * 86_400_000;

/**
 * A duration as the wire has it, rounded up.
 *
 * @throws RangeError that names `name` and the bound; TypeError if it is no number
 */
export function milliseconds(name: string, ms: number, least = 0): number {
  if (typeof ms !== "number") throw new TypeError(`${name} is a number of ms, not a ${typeof ms}`);
  if (!(ms >= least && ms <= LONGEST)) {
    throw new RangeError(`${name} is ${least} to ${LONGEST} ms (100 years), not ${ms}`);
  }
  return Math.ceil(ms);
}
