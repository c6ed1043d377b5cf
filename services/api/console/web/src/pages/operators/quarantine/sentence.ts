/** A reason as a person reads it: reasons are written as the end of a line of the log. */
export function sentence(reason: string): string {
  const text = reason.trim().replace(/^([\w.]+): (?=(is|contains) )/, "$1 ");
  const ended = /[.!?…]$/.test(text) ? text : `${text}.`;
  // A reason that begins with the name of a field keeps it as it is written.
  return /^([\w.]+: |[\w.]+ (is|contains) )/.test(text)
    ? ended
    : ended.charAt(0).toUpperCase() + ended.slice(1);
}
