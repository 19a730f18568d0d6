// Lists that are kept in this browser, for all of its tabs.

export class StoredList<T> {
  list = $state.raw<T[]>([]);
  readonly #key: string;

  /** `name` returns the name of an entry, which no other entry has; undefined for a value that is not an entry. */
  constructor(
    key: string,
    readonly most: number,
    readonly name: (entry: Partial<T>) => string | undefined,
  ) {
    this.#key = key;
    this.#read();
    addEventListener("storage", (event) => event.key === key && this.#read());
  }

  /** Replaces the list, and says whether it is kept beyond this page. */
  set(list: T[]): boolean {
    this.list = this.#valid(list);
    try {
      localStorage.setItem(this.#key, JSON.stringify(this.list));
      return true;
    } catch {
      // The browser has no room, or does not allow it.
      return false;
    }
  }

  #read(): void {
    try {
      const found: unknown = JSON.parse(localStorage.getItem(this.#key) ?? "[]");
      this.list = Array.isArray(found) ? this.#valid(found as T[]) : [];
    } catch {
      this.list = [];
    }
  }

  /** Anything may be stored under the key: only entries count, each once, and not too many. */
  #valid(list: T[]): T[] {
    const of = new Map<string, T>();
    for (const entry of list) {
      const name = this.name(entry ?? {});
      if (name !== undefined && !of.has(name)) of.set(name, entry);
    }
    return [...of.values()].slice(0, this.most);
  }
}
