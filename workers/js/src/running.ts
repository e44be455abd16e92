/** What keeps this process alive. */
import { Socket } from "node:net";

/** Workers that run in this process; Node does not list their sockets. */
export const running = { workers: 0 };

/** Whether nothing but idle clients keeps this process alive, as far as Node can tell. */
export function nothingElseRuns(): boolean {
  if (running.workers > 0) return false;
  // Node counts the streams of the process itself when they are pipes or terminals, but ends all the same.
  const own = [process.stdout, process.stderr].filter((stream) => stream instanceof Socket).length;
  return process.getActiveResourcesInfo().length <= own;
}
