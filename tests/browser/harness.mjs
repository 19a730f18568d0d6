// Helpers shared by the browser tests: counted checks, servers, and pages that fail on any error.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

export const TARGET = process.env.CARGO_TARGET_DIR ?? join(import.meta.dirname, "../../target");
/** Screenshots and logs of the last run. */
export const OUT = process.env.BROWSER_DIR ?? join(TARGET, "browser");
/** Generous, for a debug build next to other tests on two cores. */
export const LIMIT = 30_000;
mkdirSync(OUT, { recursive: true });

const count = { passed: 0, failed: 0 };
const only = process.argv[2];

/** Runs a check and counts it. */
export async function check(name, run) {
  if (only && !new RegExp(only).test(name)) return;
  try {
    const note = await run();
    count.passed += 1;
    console.log(`ok      ${name}${note ? `: ${note}` : ""}`);
  } catch (error) {
    count.failed += 1;
    console.log(`FAILED  ${name}: ${error.stack ?? error}`);
  }
}

export function summary() {
  console.log(`checks: ${count.passed} passed; ${count.failed} failed`);
  return count.failed === 0;
}

export function assert(holds, what) {
  if (!holds) throw new Error(typeof what === "string" ? what : JSON.stringify(what));
}

export function equal(left, right, what = "") {
  const [one, other] = [JSON.stringify(left), JSON.stringify(right)];
  assert(one === other, `${what} ${one} is not ${other}`);
}

/** Waits until the probe returns a value other than false and undefined. */
export async function until(what, probe, limit = LIMIT) {
  const end = Date.now() + limit;
  for (let last; ; ) {
    try {
      const found = await probe();
      if (found !== false && found !== undefined && found !== null) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`no ${what} within ${limit / 1000} s${last ? `: ${last}` : ""}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A server with its log. */
export class Server {
  constructor(name, command, args, env = {}) {
    const file = join(OUT, `${name}.address`);
    rmSync(file, { force: true });
    this.file = file;
    this.process = spawn(join(TARGET, "debug", command), args(file), { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
    this.log = "";
    this.process.stderr.on("data", (data) => (this.log += data));
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((resolve) => this.process.on("exit", resolve));
  }

  async ready() {
    const address = await until(`address of the server (${this.log})`, () => existsSync(this.file) && readFileSync(this.file, "utf8"), 120_000);
    this.url = `http://${address}`;
    await until("readiness", async () => (await fetch(`${this.url}/readyz`)).ok, 120_000);
    return this;
  }

  /** Sends a command to the stage, and waits until it is done. */
  async tell(...words) {
    this.process.stdin.write(`${words.join("\t")}\n`);
    const { value, done } = await this.lines.next();
    assert(!done && value === "done", `${words.join(" ")}: ${value} ${this.log}`);
  }

  commit(group, topic, partition, offset) {
    return this.tell("commit", partition, offset, topic, JSON.stringify(group));
  }

  async sql(statement) {
    const answer = await fetch(`${this.url}/v1/sql`, { method: "POST", body: statement });
    assert(answer.ok, `${statement}: ${await answer.clone().text()}`);
    return answer.json();
  }

  async stop() {
    this.process.stdin.end();
    this.process.kill("SIGTERM");
    await this.ended;
  }
}

export const demo = (name = "demo", env = {}) =>
  new Server(name, "offsetd", (file) => ["demo", "--listen", "127.0.0.1:0", "--address-file", file], env);
export const stage = (groups) => new Server("stage", "examples/stage", (file) => [file, String(groups)]);

export async function launch(...args) {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", ...args] });
}

/** Opens a page that fails its check on any message on its console, error, violation of the security policy, or request to another host. */
export async function visit(browser, server, path, options = {}) {
  const { width = 1280, height = 900, ...rest } = options;
  const context = await browser.newContext({ viewport: { width, height }, acceptDownloads: true, ...rest });
  const page = await context.newPage();
  page.wrong = [];
  page.setDefaultTimeout(LIMIT);
  page.on("console", (message) => {
    // The browser also reports failed requests, which some checks cause on purpose.
    const { url } = message.location();
    const harmless = /Failed to load resource|net::ERR/.test(message.text());
    if (!harmless) page.wrong.push(`${message.text()} (${url})`);
  });
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("dialog", (dialog) => (page.wrong.push(`dialog ${dialog.message()}`), dialog.dismiss()));
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith("blob:")) page.wrong.push(`asks ${request.url()}`);
  });
  await page.goto(server.url + path);
  return page;
}

/** Opens a page for the duration of a check. */
export async function on(browser, server, path, options, use) {
  const page = await visit(browser, server, path, options);
  try {
    const result = await use(page);
    equal(page.wrong, [], path);
    return result;
  } finally {
    await page.context().close();
  }
}
