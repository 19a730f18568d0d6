// Statements that were run in this browser.

export interface Past {
  statement: string;
  at: number;
}

const KEY = "offsetd-statements";
const KEPT = 50;

function stored(): Past[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? (found as Past[]).filter((one) => typeof one?.statement === "string") : [];
  } catch {
    return [];
  }
}

class Statements {
  list = $state.raw(stored());

  add(statement: string): void {
    this.list = [{ statement, at: Date.now() }, ...this.list.filter((one) => one.statement !== statement)].slice(0, KEPT);
    localStorage.setItem(KEY, JSON.stringify(this.list));
  }

  clear(): void {
    this.list = [];
    localStorage.removeItem(KEY);
  }
}

export const past = new Statements();
