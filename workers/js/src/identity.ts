/** Who this process is, for hello: with it the broker notices a killed worker at once. */
import { readFileSync, statSync } from "node:fs";

export const SDK = "tuskd-js 0.1.0";
export const LANGUAGE = "javascript";

/** The fields `pid`, `pid_ns` and `boot_id`; the last two only where the system has them (Linux). */
export function processFields(): Record<string, unknown> {
  const fields: Record<string, unknown> = { pid: process.pid };
  try {
    fields.pid_ns = statSync("/proc/self/ns/pid").ino;
    fields.boot_id = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    // Not Linux: the broker then waits for the connection's end instead.
    delete fields.pid_ns;
  }
  return fields;
}
