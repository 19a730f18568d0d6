// Statements that the reader has saved in this browser, by name.
import { StoredList } from "./stored.svelte";

export interface Saved {
  name: string;
  statement: string;
}

/** Longest name, and longest statement: the server runs no longer one by default. */
export const LONGEST_NAME = 100;
const LONGEST = 65_536;
const MOST = 100;
const is = ({ name, statement }: Partial<Saved>) =>
  typeof name === "string" && name.length > 0 && name.length <= LONGEST_NAME && typeof statement === "string" && statement.length <= LONGEST ? name : undefined;
const stored = new StoredList<Saved>("offsetd-saved", MOST, is);

export const saved = {
  get list(): Saved[] {
    return stored.list;
  },
  /** Saves a statement in place of one of the same name. Returns why it cannot be saved. */
  add(one: Saved): string | undefined {
    const others = stored.list.filter((other) => other.name !== one.name);
    if (one.statement.length > LONGEST) return "The statement is too long to be saved.";
    if (others.length >= MOST) return `${MOST} statements are saved. Delete one first.`;
    const before = stored.list;
    if (stored.set([...others, one].sort((left, right) => left.name.localeCompare(right.name)))) return undefined;
    stored.set(before);
    return "This browser does not store it.";
  },
  remove(name: string): void {
    stored.set(stored.list.filter((one) => one.name !== name));
  },
};
