// The bearer token: for this tab only, and asked for when the server wants one.

const KEY = "offsetd-token";

class Token {
  value = $state(sessionStorage.getItem(KEY) ?? "");
  /** The server refused the call: ask. */
  wanted = $state(false);
  /** Grows when a new token is to be tried. */
  tries = $state(0);

  refuse(): void {
    this.wanted = true;
  }

  give(value: string): void {
    this.value = value;
    this.wanted = false;
    this.tries += 1;
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  }
}

export const token = new Token();
