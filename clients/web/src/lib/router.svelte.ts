// Where we are: a path and its query. Names of groups are in the query, since a path does not keep "..", and some
// proxies do not keep "%2F".

/** Pages by path; the server knows the same ones. */
export const PAGES = ["/", "/consumers", "/active", "/group", "/topics", "/topic", "/compare", "/sql", "/server"] as const;
/** Those that are about all clusters, or the one in the query. */
const LISTS = ["/", "/consumers", "/active", "/topics", "/server"];
/** Of these, those that may be about one source of offsets. */
const BY_SOURCE = ["/", "/consumers", "/active"];
/** The cluster's own source, which is the default. */
export const OWN = "kafka";

class Router {
  url = $state.raw(new URL(location.href));
  /** The cluster that the lists last showed; pages about one thing lead back to it. */
  #cluster = $state("");
  /** Likewise the source. */
  #source = $state("");

  constructor() {
    this.#show(location.href);
    addEventListener("popstate", () => this.#show(location.href));
    document.addEventListener("click", (event) => this.#click(event));
  }

  get path(): string {
    return this.url.pathname;
  }

  get(name: string): string {
    return this.url.searchParams.get(name) ?? "";
  }

  /** The path of a list, about the same cluster and source. */
  list(path: string): string {
    const cluster = LISTS.includes(path) ? this.#cluster : "";
    const source = BY_SOURCE.includes(path) ? this.#source : "";
    const query = new URLSearchParams({ ...(cluster && { cluster }), ...(source && { source }) });
    return query.size ? `${path}?${query}` : path;
  }

  #show(href: string): void {
    this.url = new URL(href);
    if (LISTS.includes(this.path)) this.#cluster = this.get("cluster");
    if (BY_SOURCE.includes(this.path)) this.#source = this.get("source");
  }

  go(href: string): void {
    history.pushState(null, "", href);
    this.#show(location.href);
    scrollTo(0, 0);
  }

  /** Changes the query in place: no new entry in the browser's history. Empty values are left out. */
  set(changes: Record<string, string>): void {
    const url = new URL(this.url);
    for (const [name, value] of Object.entries(changes)) {
      if (value === "") url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    if (url.href === this.url.href) return;
    history.replaceState(null, "", url);
    this.#show(url.href);
  }

  #click(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement);
    if (!link) return this.#clickRow(event);
    if (link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || !(PAGES as readonly string[]).includes(url.pathname)) return;
    event.preventDefault();
    this.go(url.href);
  }

  /** A click on a row opens what its first link opens. Controls in the row, and selected text, take precedence. */
  #clickRow(event: MouseEvent): void {
    const target = event.target instanceof Element ? event.target : undefined;
    const row = target?.closest<HTMLElement>("[data-href]");
    if (!row?.dataset["href"] || target?.closest("button, input, select, label, summary") || getSelection()?.toString()) return;
    this.go(row.dataset["href"]);
  }
}

export const router = new Router();

export function groupPath(cluster: string, source: string, id: string): string {
  return `/group?${new URLSearchParams({ cluster, ...(source !== OWN && { source }), id })}`;
}

export function topicPath(cluster: string, name: string): string {
  return `/topic?${new URLSearchParams({ cluster, name })}`;
}

/** A side of a comparison: a group, or all groups of a source of a cluster. */
export interface Side {
  cluster: string;
  source?: string;
  group?: string;
}

/** The parameters of a comparison in the URL. Empty ones are left out. */
export function compared(sides: { left?: Side; right?: Side }): Record<string, string> {
  const of = ([name, { cluster, source, group }]: [string, Side]) => [
    [`${name}_cluster`, cluster],
    [`${name}_source`, source && source !== OWN ? source : ""],
    [`${name}_group`, group ?? ""],
  ];
  return Object.fromEntries(Object.entries(sides).flatMap(of)) as Record<string, string>;
}

export function comparePath(sides: { left?: Side; right?: Side }): string {
  return `/compare?${new URLSearchParams(Object.entries(compared(sides)).filter(([, value]) => value))}`;
}
