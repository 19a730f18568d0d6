// Checks that the graph of very many groups fetches what it draws, the worst first, and leads to all others.
import { assert, check, equal, on, until } from "./harness.mjs";

const MOST = 200;
const PATH = "/active?within=1440";

export async function graph(browser, server, groups) {
  await check(`with ${groups} groups the graph fetches what it draws, in one call`, () =>
    on(browser, server, `${PATH}&view=graph`, {}, async (page) => {
      const session = await page.context().newCDPSession(page);
      const calls = new Map();
      session.on("Network.requestWillBeSent", ({ requestId, request }) => request.url.endsWith("/GetActiveConsumer") && calls.set(requestId, 0));
      session.on("Network.dataReceived", ({ requestId, dataLength }) => calls.has(requestId) && calls.set(requestId, calls.get(requestId) + dataLength));
      await session.send("Network.enable");
      const drawn = page.locator("[data-edges]");
      await drawn.waitFor();
      await page.reload();
      await drawn.waitFor();
      const [edges, nodes] = [Number(await drawn.getAttribute("data-edges")), await drawn.locator("a").count()];
      // A connection is drawn as one line to the topic, and one to the owner if there is one.
      assert(edges > 0 && edges <= 2 * MOST, `${edges} edges`);
      equal(Number(await drawn.getAttribute("data-nodes")), nodes);
      const ids = JSON.stringify(await server.sql("SELECT group_id FROM groups")).length;
      const [bytes] = calls.values();
      assert(calls.size > 0 && bytes > 0 && bytes < ids / 20, `${bytes} bytes in a call; the ids of all groups have ${ids}`);
      return `${edges} edges, ${nodes} nodes, ${bytes} bytes; the ids of all groups: ${ids}`;
    }));
  await check("groups that are not ok are drawn first, and the others are one node that leads to the list", () =>
    on(browser, server, `${PATH}&view=graph`, {}, async (page) => {
      const rest = page.locator("a[data-node=group]", { hasText: "other groups" });
      await rest.waitFor();
      const [{ n }] = await server.sql("SELECT count(*) AS n FROM groups");
      const others = Number((await rest.textContent()).replace(/[^0-9]/g, ""));
      const shown = (await page.locator("a[data-node=group]").count()) - 1;
      equal(others + shown, n, "drawn and other groups");
      const bad = (await server.sql("SELECT count(*) AS n FROM groups WHERE status NOT IN ('ok', 'unknown')"))[0].n;
      const drawn = await page.locator("a[data-node=group]").evaluateAll((all) => all.map((one) => one.title));
      const notOk = drawn.filter((title) => /data lost|stopped|stalled|rewind|lagging/.test(title)).length;
      assert(notOk === Math.min(bad, shown), `${notOk} of ${bad} groups that are not ok`);
      await rest.focus();
      await page.keyboard.press("Enter");
      await page.getByRole("table", { name: "Connections" }).waitFor();
      assert(page.url().includes("view=list") && page.url().includes("within=1440"), page.url());
    }));
  await check(`beyond ${MOST} connections a list is shown, which reads on as it is scrolled`, () =>
    on(browser, server, PATH, {}, async (page) => {
      const list = page.getByRole("region", { name: "Connections" });
      await list.waitFor();
      const shown = async () => Number(await page.locator("[data-edges-shown]").getAttribute("data-edges-shown"));
      const before = await shown();
      assert(before <= MOST, `${before} connections`);
      await list.evaluate((box) => box.scrollTo(0, box.scrollHeight));
      await until("more connections", async () => (await shown()) > before);
      await page.getByRole("button", { name: "Graph" }).click();
      await page.locator("[data-edges]").waitFor();
    }));
}
