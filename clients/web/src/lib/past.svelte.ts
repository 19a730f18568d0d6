// Statements that were run in this browser, the newest first.
import { StoredList } from "./stored.svelte";

interface Past {
  statement: string;
  at: number;
}

const is = ({ statement, at }: Partial<Past>) => (Number.isFinite(new Date(at ?? NaN).getTime()) && typeof statement === "string" ? statement : undefined);
const stored = new StoredList<Past>("offsetd-statements", 50, is);

export const past = {
  get list(): Past[] {
    return stored.list;
  },
  add(statement: string): void {
    stored.set([{ statement, at: Date.now() }, ...stored.list]);
  },
  clear(): void {
    stored.set([]);
  },
};
