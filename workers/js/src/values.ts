/** Types that bodies have and JavaScript lacks. See BODY.md of the protocol. */

/**
 * A number that is written as a float even when it is whole.
 *
 * `1` is written as an integer, `new Float(1)` as a float. Reading always gives plain numbers, which
 * are equal to either.
 */
export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }

  valueOf(): number {
    return this.value;
  }
}

const MIN_SECONDS = -62_135_596_800; // 0001-01-01T00:00:00Z
const MAX_SECONDS = 253_402_300_799; // 9999-12-31T23:59:59Z

/**
 * An instant in UTC with nanoseconds, from year 1 to 9999.
 *
 * A reader gets a `Date` where that holds the instant exactly, else a `Timestamp`. Both may be sent.
 */
export class Timestamp {
  /** Whole seconds since 1970-01-01T00:00:00Z; negative before. */
  readonly seconds: number;
  /** Nanoseconds to add, 0 to 999,999,999, also before 1970. */
  readonly nanoseconds: number;

  /** @throws RangeError beyond year 1 to 9999, or if the nanoseconds are not 0 to 999,999,999 */
  constructor(seconds: number, nanoseconds = 0) {
    if (!Number.isInteger(seconds) || seconds < MIN_SECONDS || seconds > MAX_SECONDS) {
      throw new RangeError(`timestamp of ${seconds} s is not within year 1 to 9999`);
    }
    if (!Number.isInteger(nanoseconds) || nanoseconds < 0 || nanoseconds > 999_999_999) {
      throw new RangeError(`timestamp with ${nanoseconds} ns; 0 to 999999999 is possible`);
    }
    this.seconds = seconds;
    this.nanoseconds = nanoseconds;
  }

  /** @throws RangeError for an invalid date and beyond year 1 to 9999 */
  static fromDate(date: Date): Timestamp {
    const ms = date.getTime();
    if (Number.isNaN(ms)) throw new RangeError("invalid Date");
    const seconds = Math.floor(ms / 1000);
    return new Timestamp(seconds, (ms - seconds * 1000) * 1_000_000);
  }

  /** Whether a `Date` holds this instant exactly. */
  get isWholeMilliseconds(): boolean {
    return this.nanoseconds % 1_000_000 === 0;
  }

  /** The instant as a `Date`, cut to milliseconds. */
  toDate(): Date {
    return new Date(this.seconds * 1000 + Math.floor(this.nanoseconds / 1_000_000));
  }
}

/**
 * What a stage handler returns to end an item here: it goes to no further stage.
 *
 * `undefined` and `null` do not: they are the value null, which goes on.
 */
export const DROP: unique symbol = Symbol("tuskd.DROP");
