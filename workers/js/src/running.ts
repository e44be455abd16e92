/** What keeps this process alive and Node's list of active resources does not show. */
export const running = { workers: 0 };
