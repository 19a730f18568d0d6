// Checks the requests that pages of other sites can make a browser send to a server.
import { createServer } from "node:http";
import { assert, check, demo, equal, launch, until } from "./harness.mjs";

const STATEMENT = "SELECT group_id FROM offsets";

/** A site of another origin: one page with a link to the server and a form for it. */
async function site(server) {
  const page = `<!doctype html><a href="${server.url}/sql">link</a>
    <form method="post" action="${server.url}/v1/sql" enctype="text/plain"><input name="SELECT 1 AS x --" value=""><button>send</button></form>`;
  const http = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(page));
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  return { port: http.address().port, close: () => http.close() };
}

/** Records the statuses of the responses to a page's requests, which the page itself cannot see. */
function statuses(page, server) {
  const seen = [];
  page.on("response", (response) => response.url().startsWith(server.url) && seen.push(response.status()));
  return seen;
}

/** Sends all requests that a page may send to any host without a preflight. */
const blind = ([url, statement]) => {
  const form = new FormData();
  form.append("statement", statement);
  const call = new Blob([new Uint8Array(5)]);
  const send = (path, init) => fetch(url + path, { mode: "no-cors", ...init }).then((answer) => answer.type);
  return Promise.all([
    send("/v1/sql", { method: "POST", body: statement }),
    send("/v1/sql", { method: "POST", body: JSON.stringify({ statement }), credentials: "include" }),
    send("/v1/sql", { method: "POST", body: new URLSearchParams({ statement }) }),
    send("/v1/sql", { method: "POST", body: form }),
    send("/offsetd.v1.OffsetService/GetStatus", { method: "POST", body: call }),
    send("/metrics", {}),
    send("/v1/query?group_id=billing&topic=orders&partition=0", {}),
  ]);
};

/** Returns what a page gets if it tries to read the response. */
const reading = ([url, statement]) =>
  fetch(`${url}/v1/sql`, { method: "POST", body: JSON.stringify({ statement }), headers: { "content-type": "application/json" } })
    .then(async (answer) => [answer.status, answer.headers.get("offsetd-snapshot") !== null, (await answer.json()).length > 0])
    .catch((error) => error.name);

export async function origin(server) {
  const elsewhere = await site(server);
  const { port } = new URL(server.url);
  const names = ["elsewhere.example", "evil.example"];
  const browser = await launch(`--host-resolver-rules=${names.map((name) => `MAP ${name} 127.0.0.1`).join(",")}`);
  const opened = async (url) => {
    const page = await browser.newPage();
    const seen = statuses(page, server);
    const answer = await page.goto(url);
    return { page, seen, status: answer.status() };
  };
  try {
    for (const host of ["elsewhere.example", "127.0.0.1", "localhost"]) {
      await check(`origin: a page at ${host} gets nothing from the server, and runs nothing`, async () => {
        const { page, seen } = await opened(`http://${host}:${elsewhere.port}/`);
        equal(await page.evaluate(blind, [server.url, STATEMENT]), Array(7).fill("opaque"));
        equal(await until("answers", () => seen.length === 7 && seen), Array(7).fill(403));
        equal(await page.evaluate(reading, [server.url, STATEMENT]), "TypeError");
        const [answer] = await Promise.all([page.waitForNavigation(), page.getByRole("button", { name: "send" }).click()]);
        equal([answer.url(), answer.status()], [`${server.url}/v1/sql`, 403]);
        await page.close();
      });
    }
    await check("origin: a link of another site opens a page, which has its data", async () => {
      const { page, seen } = await opened(`http://elsewhere.example:${elsewhere.port}/`);
      await page.getByRole("link", { name: "link" }).click();
      await page.locator(".cm-content").waitFor();
      assert(seen.length > 0 && seen.every((status) => status === 200), seen);
      await page.close();
    });
    await check("origin: a name that is pointed at the server reads nothing", async () => {
      const { page, status } = await opened(`http://evil.example:${port}/`);
      equal(status, 421);
      assert((await page.locator("body").innerText()).includes("server.http.allowed_hosts"), "the setting is named");
      // A page with that host name can be loaded from a probe, which reveals nothing.
      equal((await page.goto(`http://evil.example:${port}/livez`)).status(), 200);
      const read = ([statement]) => fetch("/v1/sql", { method: "POST", body: statement }).then((answer) => answer.status);
      equal(await page.evaluate(read, [STATEMENT]), 421);
      equal(await page.evaluate(() => fetch("/metrics").then((answer) => answer.status)), 421);
      await page.close();
    });
    await check("origin: a page of an allowed origin reads answers, and no other does", async () => {
      const allowed = `http://elsewhere.example:${elsewhere.port}`;
      const other = await demo("shared", { OFFSETD_SERVER_HTTP_ALLOWED_ORIGINS: allowed }).ready();
      try {
        const { page } = await opened(`${allowed}/`);
        equal(await page.evaluate(reading, [other.url, STATEMENT]), [200, true, true]);
        await page.goto(`http://evil.example:${elsewhere.port}/`);
        equal(await page.evaluate(reading, [other.url, STATEMENT]), "TypeError");
        await page.close();
      } finally {
        await other.stop();
      }
    });
  } finally {
    await browser.close();
    elsewhere.close();
  }
}
