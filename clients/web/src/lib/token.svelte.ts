// The bearer token: for this tab only, and asked for when the server wants one.

const KEY = "offsetd-token";

class Token {
  value = $state(sessionStorage.getItem(KEY) ?? "");
  /** The server took it. */
  accepted = $state(sessionStorage.getItem(KEY) !== null);
  /** The server refused the call: ask. */
  wanted = $state(false);
  /** Grows when a new token is to be tried. */
  tries = $state(0);

  refuse(): void {
    this.wanted = true;
  }

  give(value: string): void {
    this.value = value;
    this.accepted = false;
    this.wanted = false;
    this.tries += 1;
    sessionStorage.removeItem(KEY);
  }

  /** A call with it succeeded: only then is it worth keeping. */
  accept(value: string): void {
    if (!value || value !== this.value || this.accepted) return;
    this.accepted = true;
    sessionStorage.setItem(KEY, value);
  }
}

export const token = new Token();
