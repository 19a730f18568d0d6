// A colour that stays with a name: the same group has the same colour on every visit.

const SERIES = 6;

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}

/** Series colours for names, each by the hash of its name, or the next free one where two names collide. */
export function tones(names: string[]): Map<string, string> {
  const chosen = new Map<string, string>();
  const used = new Set<number>();
  for (const name of [...new Set(names)].sort()) {
    let at = hash(name) % SERIES;
    for (let tried = 0; used.has(at) && tried < SERIES; tried += 1) at = (at + 1) % SERIES;
    used.add(at);
    chosen.set(name, `series-${at + 1}`);
  }
  return chosen;
}
