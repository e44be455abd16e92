/** The records of a packet that arrived, looked over before any of them is applied. */
import { BodyError } from "./errors.js";
import type { Reader } from "./msgpack/reader.js";

/** Where records end; kept between packets, for most are alike. */
export class RecordEnds {
  #ends = new Float64Array(1024);

  /** Where record `i` of the last scan ends. */
  at(i: number): number {
    return this.#ends[i];
  }

  /**
   * Walks over all records from where `reader` is, which is set back afterwards. Returns their number.
   *
   * @throws BodyError if one is not well-formed: then none of the packet is to be applied
   */
  scan(reader: Reader): number {
    const start = reader.pos;
    let count = 0;
    while (!reader.atEnd) {
      const elements = reader.array();
      if (elements === 0) throw new BodyError(`record ${count} is empty`);
      const kind = reader.int();
      if (kind < 0) throw new BodyError(`record ${count} has no kind`);
      for (let i = 1; i < elements; i++) reader.skip(1);
      if (count === this.#ends.length) {
        const grown = new Float64Array(count * 2);
        grown.set(this.#ends);
        this.#ends = grown;
      }
      this.#ends[count++] = reader.pos;
    }
    reader.pos = start;
    return count;
  }
}
