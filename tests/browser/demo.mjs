// Checks every page on the demo: its content, its layout, its accessibility.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { OUT, assert, check, equal, on, until } from "./harness.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SHOTS = join(import.meta.dirname, "../../clients/web/screenshots");

/** Paths, with a selector that matches once the page has its data. */
const PAGES = {
  overview: ["/", "table tbody tr"],
  consumers: ["/consumers?sort=lag&dir=desc", "[data-group]"],
  active: ["/active?view=graph", "[data-edges] a"],
  list: ["/active?view=list", "[role=cell] a"],
  group: ["/group?cluster=demo&id=clickstream-enricher", "[data-figure=lag] .num"],
  topics: ["/topics", "[role=cell] a"],
  topic: ["/topic?cluster=demo&name=orders", "table tbody tr"],
  compare: ["/compare?left_cluster=demo&left_group=billing&right_cluster=demo&right_group=fulfilment&topic=orders", "tr.partition th"],
  sql: [`/sql?${new URLSearchParams({ q: "SELECT * FROM lag ORDER BY lag DESC" })}`, "[data-state=done]"],
  server: ["/server", "[role=cell]"],
  which: ["/group?id=missing", ".card"],
  nowhere: ["/nowhere", ".card"],
};

async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).join(" | ")}`);
}

/** Returns the texts that are cut although they are not the middle of a folded name, apart from the rows of a statement. */
function clipped(page) {
  return page.evaluate(() => {
    const cut = (one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 1 && getComputedStyle(one).overflowX !== "visible";
    const texts = document.querySelectorAll("h1, h2, dd, td, th, [role=cell], [role=columnheader], .named > *, .name, nav span, button");
    return [...texts].filter((one) => !one.closest(".hidden, .mono") && cut(one)).map((one) => `${one.tagName}.${one.className}: ${one.textContent.trim()}`);
  });
}

/** Waits until no text is cut: a name that has just been drawn is folded with the next frame. */
async function whole(page) {
  await until("texts that are not cut", async () => {
    const cut = await clipped(page);
    if (cut.length > 0) throw new Error(cut.join("; "));
    return true;
  });
}

async function drawn(page) {
  // A chart is complete when it has a canvas, and no skeleton may be left.
  await until("all answers", () => page.evaluate(() => !document.querySelector("[aria-busy=true]")));
  await page.waitForFunction(() => [...document.querySelectorAll("[role=img]:not(svg)")].every((chart) => chart.matches("canvas") || chart.querySelector("canvas")));
}

export async function pages(browser, server) {
  mkdirSync(OUT, { recursive: true });
  for (const [name, [path, there]] of Object.entries(PAGES)) {
    for (const colorScheme of ["light", "dark"]) {
      await check(`${name}, ${colorScheme}: complete, accessible, without a word to others`, () =>
        on(browser, server, path, { colorScheme }, async (page) => {
          await page.waitForSelector(there);
          await drawn(page);
          await page.screenshot({ path: join(OUT, `${name}-1280-${colorScheme}.png`), fullPage: true });
          equal(await violations(page), [], "axe");
          await whole(page);
        }));
    }
    for (const [width, height, colorScheme] of [[400, 800, "light"], [2560, 1440, "light"], [3840, 2160, "dark"]]) {
      await check(`${name}: fits into ${width} px`, () =>
        on(browser, server, path, { width, height, colorScheme }, async (page) => {
          await page.waitForSelector(there);
          await drawn(page);
          await page.screenshot({ path: join(OUT, `${name}-${width}.png`) });
          const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
          assert(inner <= outer, `${inner} px wide`);
          if (width > 1280) await whole(page);
        }));
    }
  }
}

/** Takes the screenshots of the README. */
export async function screenshots(browser, server) {
  await check("the README's screenshots are made", async () => {
    mkdirSync(SHOTS, { recursive: true });
    for (const [name, colorScheme] of [["overview", "light"], ["active", "dark"], ["group", "light"]]) {
      const [path, there] = PAGES[name];
      await on(browser, server, path, { width: 1280, height: 800, colorScheme }, async (page) => {
        await page.waitForSelector(there);
        await drawn(page);
        const picture = await page.screenshot({ type: "jpeg", quality: 85 });
        // Existing screenshots are kept unless an update is requested, because each run differs.
        const file = join(SHOTS, `${name}.jpg`);
        if (process.env.UPDATE_SCREENSHOTS || !existsSync(file)) writeFileSync(file, picture);
        assert(readFileSync(file).length <= 150 * 1024, `${file}: ${readFileSync(file).length} bytes`);
      });
    }
  });
}

/** Checks pages on which something is missing. */
export async function gaps(browser, server) {
  await check("a chart whose code cannot be loaded is drawn later", () =>
    on(browser, server, "/server", {}, async (page) => {
      let requests = 0;
      await page.route(/assets\/(charts|marks)-/, (route) => (++requests === 1 ? route.abort() : route.continue()));
      await page.goto(server.url + PAGES.group[0]);
      await page.waitForSelector("[role=img] canvas");
      assert(requests > 1, `${requests} requests`);
    }));
  await check("the audit says why a cluster is not audited", () =>
    on(browser, server, "/server", {}, async (page) => {
      await page.getByText("demo-west is not audited: the coordinators of a mock cluster know no committed offsets.").waitFor();
    }));
}

const ids = (page) => page.locator("[data-group]").allTextContents();

export async function lists(browser, server) {
  await check("consumers: search, filter and sort are the server's, and in the URL", () =>
    on(browser, server, "/consumers", {}, async (page) => {
      await page.waitForSelector("[data-group]");
      await page.keyboard.press("/");
      await page.keyboard.type("WareHouse");
      await until("only matches", async () => (await ids(page)).join() === "warehouse-loader,warehouse-sync");
      assert(page.url().includes("q=WareHouse"), page.url());
      await page.getByRole("searchbox").fill("payments");
      await until("groups that read a topic", async () => (await ids(page)).includes("billing"));
      await page.getByRole("searchbox").fill("");
      await page.getByRole("button", { name: "stopped" }).click();
      await until("stopped groups", async () => (await page.locator("[role=cell] [data-status]:not([data-status=stopped])").count()) === 0 && (await ids(page)).includes("loyalty-migration"));
      await page.getByRole("button", { name: "stopped" }).click();
      await page.getByRole("button", { name: "Lag", exact: true }).click();
      await until("the greatest first", async () => (await ids(page))[0] === "clickstream-enricher");
      equal(await page.getByRole("columnheader", { name: "Lag ↓" }).or(page.locator("[aria-sort=descending]")).count(), 1);
      await page.reload();
      await until("the same after a reload", async () => (await ids(page))[0] === "clickstream-enricher");
      await page.getByLabel("Kind").selectOption("streams");
      await until("a kind", async () => (await ids(page)).join() === "stock-levels");
      await page.getByRole("searchbox").fill("no group has this name");
      await page.getByText("No group matches.").waitFor();
    }));
  await check("consumers: a line shows how the lag of each group moved", () =>
    on(browser, server, "/consumers", {}, async (page) => {
      const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "billing", exact: true }) });
      await row.getByRole("img", { name: /^Lag: from [\d,]+ to [\d,]+$/ }).waitFor();
    }));
  await check("a number leads to its SQL, and that gives the number", () =>
    on(browser, server, "/", {}, async (page) => {
      await page.locator("[data-figure=lag] a").click();
      await page.locator("[data-state=done]").waitFor();
      assert(page.url().includes("/sql?q=SELECT+sum"), page.url());
      assert(Number(await page.locator("[role=cell]").first().textContent()) > 0, "a lag");
    }));
  await check("the chart of a topic leads to its SQL, which is drawn", () =>
    on(browser, server, "/topic?cluster=demo&name=orders", {}, async (page) => {
      await until("points", async () => Number(await page.getByRole("img", { name: "Lag of the consumers of orders" }).getAttribute("data-points")) > 0);
      await page.getByRole("link", { name: "SQL of the lag of the consumers" }).click();
      await page.locator("[data-state=done]").waitFor();
      await page.getByRole("button", { name: "Chart" }).click();
      const chart = page.getByRole("img", { name: "committed_offset over time" });
      await until("points of it", async () => Number(await chart.getAttribute("data-points")) > 0);
      // The groups with the most samples, which change during the first minute.
      const lines = await page.locator(".legend li").allInnerTexts();
      const groups = (await server.sql("SELECT DISTINCT group_id FROM offsets WHERE topic = 'orders'")).map((row) => row.group_id);
      // A source beside Kafka follows the name of its group.
      assert(new Set(lines).size > 1 && lines.every((line) => groups.includes(line.split(", ")[0])), `a line for each group: ${lines} of ${groups}`);
    }));
  await check("the rates of a group lead to SQL that gives them", () =>
    on(browser, server, "/group?cluster=demo&id=billing", {}, async (page) => {
      await page.getByRole("link", { name: "SQL of the records per second" }).click();
      await page.locator("[data-state=done]").waitFor();
      const names = await page.getByRole("columnheader").allTextContents();
      equal(names.map((name) => name.trim()), ["sampled_at", "cluster", "produced", "consumed"]);
    }));
  await check("rewinds are marked in a group's charts, and lead to their SQL", () =>
    on(browser, server, "/group?cluster=demo&id=inventory-projector", {}, async (page) => {
      await page.getByRole("link", { name: "SQL of rewinds and deletions" }).click();
      await page.getByText(/^\s*[1-9][0-9]* rows? in/).waitFor();
    }));
  await check("owners are read in full at 400 px", () =>
    on(browser, server, "/active?view=list&q=ledger", { width: 400, height: 800 }, async (page) => {
      const owner = page.getByText("consumer-ledger-writer-1").first();
      await owner.waitFor();
      await page.getByText(/10\.0\.20\./).first().waitFor();
      const cell = owner.locator("xpath=ancestor-or-self::*[@role='cell']");
      assert(await cell.evaluate((cell) => cell.scrollWidth <= cell.clientWidth), "cut");
    }));
  await check("a path without a page is a page with status 404 and a way home", () =>
    on(browser, server, "/nowhere", {}, async (page) => {
      await page.getByText("There is no page /nowhere.").waitFor();
      equal((await page.request.get(`${server.url}/nowhere`, { headers: { accept: "text/html" } })).status(), 404);
      await page.getByRole("link", { name: "To the overview" }).click();
      await page.locator("[data-figure=lag]").waitFor();
    }));
  await check("topics are searched and filtered", () =>
    on(browser, server, "/topics?cluster=demo", {}, async (page) => {
      await page.locator("[role=cell] a").first().waitFor();
      await page.getByRole("searchbox").fill("ORDERS");
      const topics = () => page.locator("[role=cell]:first-child a").allTextContents();
      await until("only matches", async () => (await topics()).length > 0 && (await topics()).every((topic) => topic.includes("orders")));
      await page.getByRole("button", { name: "Produced" }).click();
      await until("the same in another order", async () => page.url().includes("sort=produce_rate") && (await topics()).length > 0);
      equal(await page.locator(".problem").count(), 0);
    }));
  await check("the SQL of a list gives as many rows as the list", async () => {
    for (const [path, shown] of [
      ["/consumers?q=Shipments", "[data-total]"],
      ["/consumers?q=orders&sort=status&dir=desc", "[data-total]"],
      ["/active?view=list&status=lagging&within=60", "[data-edges-shown]"],
      ["/active?view=list&q=parcel", "[data-edges-shown]"],
      ["/topics?q=orders&cluster=demo", "[data-topics]"],
    ])
      await on(browser, server, path, {}, async (page) => {
        const status = page.locator(shown);
        await status.waitFor();
        const name = shown.slice(1, -1);
        const shownRows = async () => Number(await status.getAttribute(name));
        await until(`rows of ${path}`, async () => (await shownRows()) > 0, 90_000);
        const count = await shownRows();
        await page.locator("a.sql").first().click();
        await page.locator("[data-state=done]").waitFor();
        const rows = await page.locator("[data-state=done]").textContent();
        equal(Number(rows.match(/([0-9,]+) rows? in/)[1].replaceAll(",", "")), count, path);
      });
  });
  await check("the graph leads to groups by mouse and keyboard, and lists the same", () =>
    on(browser, server, "/active?view=graph", {}, async (page) => {
      const graph = page.locator("[data-edges]");
      const node = graph.locator("a[data-node=group]", { hasText: "fraud-detection" });
      await node.click();
      await until("its page", () => page.url().includes("/group?cluster=demo&id=fraud-detection"));
      await page.goBack();
      await node.waitFor();
      assert(Number(await graph.getAttribute("data-edges")) > 50, "edges");
      await page.getByRole("link", { name: "SQL of these connections" }).focus();
      await page.keyboard.press("Tab");
      const first = await page.evaluate(() => [document.activeElement.dataset.node, document.activeElement.title.split(",")[0]]);
      equal(first[0], "group");
      await page.keyboard.press("Enter");
      await until("the page of the first node", () => new URL(page.url()).searchParams.get("id") === first[1]);
      await page.goBack();
      await page.getByRole("button", { name: "List" }).click();
      await page.locator("[role=cell] a").first().waitFor();
      await page.getByRole("searchbox").fill("fraud");
      await until("only matches", async () => [...new Set(await page.locator("[role=cell]:first-child a").allTextContents())].join() === "fraud-detection");
    }));
  await check("charts begin before the page was opened", async () => {
    const begins = (url, charts) =>
      on(browser, server, url, {}, async (page) => {
        for (const name of charts) {
          await page.getByRole("img", { name }).locator("canvas").waitFor();
          const points = async () => Number(await page.getByRole("img", { name }).getAttribute("data-points"));
          await until(`points of: ${name}`, async () => (await points()) >= 2);
        }
      });
    await begins("/", ["Lag of all groups over the last hour", "Age of the oldest unread record over the last hour"]);
    await begins("/group?cluster=demo&id=billing", ["Lag in records", "Age of the oldest unread record"]);
  });
  await check("a chart has its range in the URL, and a part is chosen with the mouse", () =>
    on(browser, server, "/group?cluster=demo&id=billing", {}, async (page) => {
      const chart = page.getByRole("img", { name: "Lag in records" });
      await chart.locator("canvas").waitFor();
      await page.getByRole("button", { name: "15m" }).click();
      assert(page.url().includes("range=15m"), page.url());
      await chart.scrollIntoViewIfNeeded();
      const { x, y, width, height } = await chart.boundingBox();
      await page.mouse.move(x + width * 0.5, y + height / 2);
      await page.mouse.down();
      await page.mouse.move(x + width * 0.8, y + height / 2, { steps: 4 });
      await page.mouse.up();
      await until("two ends", () => /from=.*&to=/.test(page.url()));
      await page.getByRole("button", { name: "1h" }).click();
      assert(!page.url().includes("from="), page.url());
    }));
  await check("light and dark are switched, and remembered", () =>
    on(browser, server, "/", { colorScheme: "light" }, async (page) => {
      const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const before = await background();
      await page.getByRole("button", { name: "Dark" }).click();
      const dark = await background();
      assert(dark !== before, dark);
      await page.reload();
      await page.getByRole("button", { name: "Light" }).waitFor();
      equal(await background(), dark);
    }));
  await check("all pages are reached by keyboard, and a new page begins at its head", () =>
    on(browser, server, "/", {}, async (page) => {
      await page.keyboard.press("Tab");
      equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the page");
      for (let tabs = 0; tabs < 3; tabs += 1) await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await page.waitForSelector("[data-group]");
      equal(await page.evaluate(() => document.activeElement.id), "main");
      await page.locator("[data-group]").first().focus();
      await page.keyboard.press("j");
      equal(await page.evaluate(() => [...document.querySelectorAll("[data-group]")].indexOf(document.activeElement)), 1);
    }));
}
