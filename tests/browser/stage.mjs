// Checks conditions that the demo lacks: strange names, very many groups and partitions, restarts of server and brokers.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { OUT, assert, check, demo, equal, on, until } from "./harness.mjs";
import { large } from "./sql.mjs";

const NASTY = [
  "a/b/../c?d=e&f#g", "..", "with spaces  and\ttab", "two\nlines", "🚀 émoji ∑ 日本語", "<img src=x onerror=alert(1)>",
  "<script>document.title='broken'</script>", "'; DROP TABLE groups; --", '"quoted" \\ back%2Fslash %', "rtl \u202egnirts", "long-".repeat(40),
];
const group = (id) => `/group?${new URLSearchParams({ cluster: "stage", id })}`;
const committed = (page, key) => page.locator(`[data-committed="${key}"]`).textContent();
const median = (all) => [...all].sort((left, right) => left - right)[Math.floor(all.length / 2)];

export async function staged(browser, server, groups) {
  for (const id of NASTY) {
    await check(`the group ${JSON.stringify(id).slice(0, 50)} is found, opened and shown as it is`, () =>
      on(browser, server, `/consumers?${new URLSearchParams({ q: id, sort: "group_id", dir: "asc" })}`, {}, async (page) => {
        const link = page.locator("[data-group]").first();
        await until("the group", async () => (await link.getAttribute("title")) === id);
        await link.click();
        await page.waitForSelector("[data-committed='orders-0']");
        equal(new URL(page.url()).searchParams.get("id"), id);
        const title = await page.locator("h1").textContent();
        assert(title.length >= Math.min(id.length, 2) && !/[\n\t\u202e]/.test(title), title);
        await page.reload();
        await page.waitForSelector("[data-committed='orders-0']");
        equal(await page.locator("h1").textContent(), title);
        assert((await page.title()).endsWith("· offsetd"), await page.title());
        assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page must not scroll horizontally");
        await page.getByRole("link", { name: "SQL of the partitions" }).click();
        await page.locator("[data-state=done]").waitFor();
      }));
  }
  await check("a group that is not there is said not to be", () =>
    on(browser, server, group("missing"), {}, (page) => page.getByText("There is no such group in stage").waitFor()));

  await check("a commit shows on the page without a reload", () =>
    on(browser, server, group(".."), {}, async (page) => {
      await page.waitForSelector("[data-committed='orders-0']");
      for (let offset = 950; offset < 955; offset += 1) {
        await server.commit("..", "orders", 0, offset);
        await until("the new offset", async () => (await committed(page, "orders-0")) === String(offset));
      }
    }));
  await check("while paused nothing moves, and after it all is there", () =>
    on(browser, server, group(".."), {}, async (page) => {
      await page.waitForSelector("[data-committed='orders-0']");
      await page.getByRole("button", { name: "Pause" }).click();
      await page.getByRole("button", { name: "Paused" }).waitFor();
      const before = await committed(page, "orders-0");
      await server.commit("..", "orders", 0, 960);
      await until("the server to know", async () => (await server.sql("SELECT committed_offset AS at FROM offsets WHERE group_id = '..'"))[0].at === 960);
      // Another page shows it meanwhile, so this one had enough time.
      await on(browser, server, group(".."), {}, (other) => until("the new offset", async () => (await committed(other, "orders-0")) === "960"));
      equal(await committed(page, "orders-0"), before);
      await page.getByRole("button", { name: "Paused" }).click();
      await until("the new offset", async () => (await committed(page, "orders-0")) === "960");
    }));
  await check("a group of 10,000 partitions scrolls to the last", () =>
    on(browser, server, `${group("wide-reader")}&sort=partition`, {}, async (page) => {
      await page.waitForSelector("[data-committed='wide-0']");
      equal(await page.getByRole("table", { name: "Partitions of the group" }).getAttribute("aria-rowcount"), "10001");
      await page.getByRole("region", { name: "Partitions of the group" }).evaluate((box) => box.scrollTo(0, box.scrollHeight));
      await page.waitForSelector("[data-committed='wide-9999']");
      assert((await page.locator("[role=row]").count()) < 100, "only visible rows are rendered");
    }));
  await check("unread topics are found", () =>
    on(browser, server, "/topics", {}, async (page) => {
      await page.getByRole("button", { name: "Without consumers" }).click();
      await until("the one", async () => (await page.locator("[role=cell] a").allTextContents()).join() === "unread-topic");
      await page.locator("[role=cell] a").click();
      await page.getByText("No group has committed an offset of this topic.").waitFor();
    }));

  await check(`with ${groups} groups the first page is shown after a fraction of their data`, () =>
    on(browser, server, "/server", {}, async (page) => {
      const ids = JSON.stringify(await server.sql("SELECT group_id FROM groups")).length;
      const session = await page.context().newCDPSession(page);
      const fetches = new Set();
      let bytes = 0;
      session.on("Network.requestWillBeSent", ({ requestId, type }) => type === "Fetch" && fetches.add(requestId));
      session.on("Network.dataReceived", ({ requestId, dataLength }) => (bytes += fetches.has(requestId) ? dataLength : 0));
      await session.send("Network.enable");
      await page.goto(`${server.url}/consumers`);
      await page.waitForSelector("[data-group]");
      assert(fetches.size > 0 && bytes > 0, "the requests of the page must be recorded");
      assert(bytes < ids / 10, `${bytes} bytes for the first page, ${ids} for the ids of all groups`);
      return `${bytes} bytes in ${fetches.size} requests; the ids of all groups: ${ids}`;
    }));
  await check(`${groups} groups scroll: pages come as they are needed`, () =>
    on(browser, server, "/consumers?sort=lag&dir=desc", {}, async (page) => {
      await page.waitForSelector("[data-group]");
      const box = page.getByRole("region", { name: "Consumer groups" });
      await box.evaluate((box) => {
        window.frames_ = [];
        let last = performance.now();
        requestAnimationFrame(function frame(now) {
          window.frames_.push(now - last);
          last = now;
          box.scrollBy(0, 60);
          if (!window.stop_) requestAnimationFrame(frame);
        });
      });
      await until("row 1500", async () => (await page.locator("[aria-rowindex]").last().getAttribute("aria-rowindex")) > 1500, 120_000);
      const frames = await page.evaluate(() => ((window.stop_ = true), window.frames_));
      const sorted = frames.sort((left, right) => left - right);
      const seen = await page.locator("[data-group]").count();
      assert(seen > 10, `${seen} rows in sight`);
      return `frames: median ${median(frames).toFixed(0)} ms, 95 % within ${sorted[Math.floor(sorted.length * 0.95)].toFixed(0)} ms`;
    }));
  await check("what an open transaction freezes is told, and when nothing is", () =>
    on(browser, server, "/server", {}, async (page) => {
      await page.locator("[data-frozen='0']").waitFor();
      await server.tell("freeze", 3);
      const row = page.getByRole("region", { name: "Open transactions" }).locator("tbody tr");
      await row.waitFor();
      const [partition, since] = await row.locator("td").allInnerTexts();
      equal([partition, since], ["3", "1 h ago"]);
      await page.getByRole("link", { name: "SQL of the open transactions" }).click();
      await page.getByText("1 row in").waitFor();
      await page.goBack();
      await server.tell("thaw", 3);
      await page.locator("[data-frozen='0']").waitFor();
    }));
  await large(browser, server);
}

export async function away(browser, server) {
  await check("brokers that go away make the data stale, not gone", () =>
    on(browser, server, group(".."), {}, async (page) => {
      await page.waitForSelector("[data-committed='orders-0']");
      await server.tell("down");
      await page.locator("[data-banner=stale]").waitFor();
      assert(await committed(page, "orders-0"), "the last known offset");
      await server.tell("up");
      await page.locator("[data-banner=stale]").waitFor({ state: "detached" });
    }));
  await check("the page survives a restart of the server by itself", () =>
    on(browser, server, group(".."), {}, async (page) => {
      await page.waitForSelector("[data-committed='orders-0']");
      // The code of the charts is loaded when the first one is drawn.
      await page.locator("canvas").first().waitFor();
      const before = await committed(page, "orders-0");
      await server.tell("stop");
      await page.locator("[data-banner=reconnecting]").waitFor();
      equal(await committed(page, "orders-0"), before, "the shown offset stays");
      await server.tell("start");
      await page.locator("[data-banner=reconnecting]").waitFor({ state: "detached" });
      await server.commit("..", "orders", 0, 970);
      await until("a commit after it", async () => (await committed(page, "orders-0")) === "970");
    }));
}

export async function token(browser) {
  await check("a token is asked for, kept for the tab only, and asked for again when it has expired", async () => {
    const file = join(OUT, "tokens");
    const [first, second] = ["the-first-token-1", "the-second-token-2"];
    writeFileSync(file, first);
    const server = await demo("guarded", { OFFSETD_SERVER_AUTH_TOKENS_FILE: file }).ready();
    try {
      await on(browser, server, "/", {}, async (page) => {
        const field = page.getByLabel("Bearer token");
        const give = async (token) => {
          await field.fill(token);
          await page.keyboard.press("Enter");
        };
        await page.getByText("This server wants a token").waitFor();
        await give("not-the-first-token-1");
        await page.getByRole("heading", { name: "The token is not accepted", exact: true }).waitFor();
        equal(await page.evaluate(() => sessionStorage.length), 0, "a token that was never accepted is not stored");
        await give(first);
        await page.locator("table tbody tr").first().waitFor();
        equal(await page.evaluate((first) => [sessionStorage.length, JSON.stringify(localStorage).includes(first)], first), [1, false]);
        writeFileSync(file, second);
        await page.getByText("not accepted any more").waitFor();
        await give(second);
        await field.waitFor({ state: "hidden" });
        await until("data by the new token", () => page.evaluate(() => !document.querySelector(".problem")));
      });
      await check("the metrics are read where a token is wanted", () =>
        on(browser, server, "/server", {}, async (page) => {
          await page.getByLabel("Bearer token").fill(second);
          await page.keyboard.press("Enter");
          const [metrics] = await Promise.all([page.waitForEvent("popup"), page.getByRole("link", { name: "Metrics" }).click()]);
          await until("their text", async () => (await metrics.locator("body").innerText()).includes("# TYPE offsetd_"));
        }));
      assert(![first, second].some((token) => server.log.includes(token)), "the log holds a token");
    } finally {
      await server.stop();
    }
  });
}
