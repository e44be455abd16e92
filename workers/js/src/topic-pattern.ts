/** Patterns of topics. */

/**
 * Whether `topic` is one that `pattern` stands for. Between dots, `*` is any one token and `>` at the end
 * is one or more; a name without them stands for itself.
 */
export function matches(pattern: string, topic: string): boolean {
  if (pattern === topic) return true;
  const tokens = pattern.split(".");
  const given = topic.split(".");
  for (const [i, token] of tokens.entries()) {
    if (i >= given.length) return false;
    if (token === ">" && i === tokens.length - 1) return true;
    if (token !== "*" && token !== given[i]) return false;
  }
  return tokens.length === given.length;
}
