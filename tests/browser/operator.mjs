// What an operator expects of the dashboard: the worst first, clicks that lead to the thing, times in one zone.
import { assert, check, equal, on, until } from "./harness.mjs";

const SEVERITY = ["data_lost", "stopped", "stalled", "rewind", "lagging", "unknown", "no_offsets", "ok"];
const link = (statement) => `/sql?${new URLSearchParams({ q: statement })}`;
const group = "/group?cluster=demo&id=payment-reconciler";

export async function operator(browser, server) {
  await check("consumers: the worst come first, and each status has its count", () =>
    on(browser, server, "/consumers", {}, async (page) => {
      await page.waitForSelector("[data-group]");
      const statuses = await page.locator("[role=cell] [data-status]").evaluateAll((all) => all.map((one) => one.dataset.status));
      const ranks = statuses.map((status) => SEVERITY.indexOf(status)).map((rank) => (rank === 6 ? 5 : rank));
      assert(ranks.length > 10 && ranks.every((rank, at) => at === 0 || rank >= ranks[at - 1]), statuses);
      await page.locator("[data-status=no_offsets]").first().waitFor();
    }));
  await check("consumers: in every frame the counts, the total and the list agree", () =>
    on(browser, server, "/consumers", { height: 2400 }, async (page) => {
      let answers = 0;
      page.on("response", (response) => (answers += response.url().endsWith("/GetConsumer") ? 1 : 0));
      await page.locator("[data-count=stopped]").waitFor();
      await page.evaluate(watchCounts);
      for (const name of ["ok", "lagging", "ok"]) {
        const before = answers;
        await until("two answers", () => answers >= before + 2);
        await page.getByRole("button", { name: new RegExp(`^${name}`) }).click();
      }
      const before = answers;
      await until("two answers", () => answers >= before + 2);
      const { frames, wrong } = await page.evaluate(() => window.counts_);
      equal(wrong, []);
      assert(frames > 10, `${frames} frames`);
      return `${frames} frames, ${answers} answers`;
    }));
  await check("the overview's numbers of groups agree with each other", () =>
    on(browser, server, "/", { height: 2000 }, async (page) => {
      await page.locator("[data-without-offsets]").waitFor();
      const seen = await page.evaluate(() => {
        const number = (text) => Number(text.replace(/[^0-9]/g, ""));
        const statuses = [...document.querySelectorAll("[data-show]")].map((one) => [one.dataset.show, number(one.querySelector(".num").title)]);
        const worst = [...document.querySelectorAll("[aria-label='The ten worst groups'] [data-status]")].map((one) => one.dataset.status);
        const groups = number(document.querySelector("[aria-label=Totals] .big .num").title);
        const without = Number(document.querySelector("[data-without-offsets]").dataset.withoutOffsets);
        const clusters = [...document.querySelectorAll("[data-groups-of]")].map((one) => number(one.querySelector(".num").title));
        return { statuses, worst, groups, without, ofClusters: clusters.reduce((sum, one) => sum + one, 0) };
      });
      equal(seen.statuses.reduce((sum, [, count]) => sum + count, 0) + seen.without, seen.groups);
      equal(seen.ofClusters, seen.groups);
      // The worst ten are the first ten of the groups by status, from the worst status on.
      const expected = seen.statuses.flatMap(([status, count]) => Array(count).fill(status)).slice(0, 10);
      equal(seen.worst, expected);
    }));
  await check("a group's figures are the sums of its partitions, also while it commits", () =>
    on(browser, server, "/group?cluster=demo&id=clickstream-enricher", {}, async (page) => {
      await page.locator("[role=cell]").first().waitFor();
      const sums = () =>
        page.evaluate(() => {
          const number = (text) => Number(text.replace(/[^0-9]/g, ""));
          const rows = [...document.querySelectorAll("[role=table][aria-label='Partitions of the group'] .rows [role=row]")];
          const lags = rows.map((row) => number(row.children[3].querySelector(".num").title));
          const figure = (name) => number(document.querySelector(`[data-figure=${name}] .num`).title);
          return [[figure("lag"), figure("partitions")], [lags.reduce((sum, lag) => sum + lag, 0), rows.length]];
        });
      const seen = new Set();
      await until("ten lags", async () => {
        const [figures, partitions] = await sums();
        equal(figures, partitions);
        return seen.add(figures[0]).size >= 10;
      });
    }));
  await check("a click anywhere on a row opens the group, a status of the overview the list", () =>
    // In this order no row moves between the search for it and the click.
    on(browser, server, "/consumers?sort=group_id&dir=asc", {}, async (page) => {
      const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "billing", exact: true }) });
      await row.getByText("Stable").click();
      assert(page.url().includes("/group?cluster=demo&id=billing"), page.url());
      await page.goto(server.url);
      await page.locator("[data-show=stopped]").click();
      await until("the stopped groups", async () => page.url().includes("/consumers?status=stopped") && (await page.locator("[data-group]").count()) > 0);
      await page.goto(server.url);
      const worst = page.getByRole("region", { name: "The ten worst groups" }).locator("tbody tr").first();
      const id = await worst.locator("a").first().textContent();
      await worst.locator("td").nth(2).click();
      await until("the group's page", () => page.url().includes(`id=${encodeURIComponent(id)}`));
      equal(await page.locator("[data-without-offsets]").count(), 0);
    }));
  await check("groups without offsets are not among the worst", () =>
    on(browser, server, "/", {}, async (page) => {
      await page.locator("[data-without-offsets]").waitFor();
      const worst = page.getByRole("region", { name: "The ten worst groups" }).locator("tbody a");
      await worst.first().waitFor();
      const names = await worst.allTextContents();
      assert(names.length > 5 && !names.includes("connect-cluster") && !names.includes("parcel-tracking"), names);
    }));
  await check("all times are in one zone, which is named and can be switched to UTC", () =>
    on(browser, server, "/consumers", { timezoneId: "Asia/Kolkata" }, async (page) => {
      const time = page.locator("time").first();
      await time.waitFor();
      const exact = async () => [await time.getAttribute("datetime"), await time.getAttribute("title")];
      const shifted = (iso, minutes) => new Date(Date.parse(iso) + minutes * 60_000).toISOString().slice(0, 16).replace("T", " ");
      await until("local times", async () => {
        const [iso, title] = await exact();
        return title.startsWith(shifted(iso, 330)) && /Asia\/(Calcutta|Kolkata)$/.test(title);
      });
      await page.getByRole("button", { name: /Asia/ }).click();
      await until("UTC", async () => {
        const [iso, title] = await exact();
        return title.startsWith(shifted(iso, 0)) && title.endsWith("UTC");
      });
      await page.reload();
      await page.getByRole("button", { name: "UTC", exact: true }).waitFor();
    }));
  await check("every range button of a chart gives a chart", () =>
    on(browser, server, group, {}, async (page) => {
      const chart = page.getByRole("img", { name: "Lag in records" });
      for (const range of ["15m", "6h", "24h", "7d", "1h"]) {
        await page.getByRole("button", { name: range, exact: true }).click();
        await until(`points of ${range}`, async () => Number(await chart.getAttribute("data-points")) > 0);
        equal(await page.getByText(/Could not be read|could not be read/).count(), 0, range);
      }
    }));
  await check("the lag of each partition over time is a heat map, and leads to its SQL", () =>
    on(browser, server, group, {}, async (page) => {
      const map = page.locator("[data-rows]");
      await map.waitFor();
      equal(await map.getAttribute("data-rows"), "6");
      const canvas = map.locator("canvas");
      assert(/partitions that lag most/.test(await canvas.getAttribute("aria-label")), "a description");
      // The partitions of this group lag all the time: their cells are coloured.
      const pixels = () => canvas.evaluate((canvas) => {
        const data = canvas.getContext("2d").getImageData(canvas.width - 6, 3, 1, 1).data;
        return [...data].join();
      });
      await until("a coloured cell", async () => !["0,0,0,0", "242,240,236,255"].includes(await pixels()));
      const box = await canvas.boundingBox();
      await page.mouse.move(box.x + box.width - 4, box.y + 4);
      await page.getByText(/lag up to [\d,]+/).waitFor();
      await page.getByRole("link", { name: "SQL of the lag by partition" }).click();
      await page.getByText(/^\s*[1-9][0-9]* rows? in/).waitFor();
      await on(browser, server, "/topic?cluster=demo&name=payments", {}, (page) => page.locator("[data-rows='6']").waitFor());
    }));
  await check("a series is hidden by its legend", () =>
    on(browser, server, group, {}, async (page) => {
      const entry = page.getByRole("button", { name: "produced", exact: true });
      await entry.click();
      equal(await entry.getAttribute("aria-pressed"), "false");
      await entry.click();
      equal(await entry.getAttribute("aria-pressed"), "true");
    }));
  await check("changes since the reader looked are counted, lead to the groups, and are acknowledged", () =>
    on(browser, server, "/", {}, async (page) => {
      const inbox = page.locator("[data-inbox]");
      await until("a rewind", async () => (await inbox.locator("li", { hasText: "inventory-projector" }).count()) > 0, 90_000);
      await until("the count in the title", async () => /^\(\d+\) /.test(await page.title()));
      await inbox.locator("li", { hasText: "inventory-projector" }).first().click();
      assert(page.url().includes("id=inventory-projector"), page.url());
      await page.goBack();
      await page.getByRole("button", { name: "Mark all as seen" }).click();
      await page.reload();
      const seen = async () => Number(await page.evaluate(() => localStorage.getItem("offsetd-seen")));
      assert(Date.now() - (await seen()) < 60_000, "kept in the browser");
    }));
  await check("SQL: an empty page shows the examples, and a card runs its statement", () =>
    on(browser, server, "/sql", {}, async (page) => {
      await page.locator(".cards button", { hasText: "Which groups have stopped?" }).click();
      await page.locator("[data-state=done]").waitFor();
      equal(await page.locator(".cards").count(), 0);
    }));
  await check("SQL: a click on a column sorts the rows that are here, NULL last", () =>
    on(browser, server, link("SELECT * FROM (VALUES (2, 'b'), (NULL, 'c'), (10, 'a')) AS t(n, s)"), {}, async (page) => {
      await page.locator("[data-state=done]").waitFor();
      const texts = () => page.locator(".rows [role=cell]:nth-child(2)").allTextContents().then((all) => all.map((text) => text.trim()).join());
      equal(await texts(), "b,c,a");
      const head = page.getByRole("columnheader", { name: "n" }).getByRole("button");
      await head.click();
      await until("upwards", async () => (await texts()) === "b,a,c");
      await head.click();
      await until("downwards", async () => (await texts()) === "a,b,c");
      await head.click();
      await until("the statement's order", async () => (await texts()) === "b,c,a");
    }));
  await check("SQL: a statement is repeated, and its rows stay in sight meanwhile", () =>
    on(browser, server, link("SELECT now() AS n"), {}, async (page) => {
      await page.locator("[data-state=done]").waitFor();
      const cell = () => page.locator(".rows [role=cell]").first().textContent();
      const before = await cell();
      await page.getByLabel("Repeat the statement").selectOption("5000");
      await until("a later time", async () => (await cell()) !== before);
    }));
  await check("SQL: text typed over a coloured selection violates no policy", () =>
    on(browser, server, "/sql", {}, async (page) => {
      await page.locator(".cm-content").click();
      for (const text of ["SELECT 1", "42"]) {
        await page.keyboard.press("Control+a");
        await page.keyboard.type(text);
        await page.keyboard.press("Control+a");
        await page.keyboard.type("x");
        equal((await page.locator(".cm-content").innerText()).trim(), "x");
      }
    }));
  await check("a page is embedded without its navigation", () =>
    on(browser, server, `${group}&embed=1`, {}, async (page) => {
      await page.locator("[data-figure=lag]").waitFor();
      equal(await page.getByRole("navigation").count(), 0);
    }));
}

/** Runs in the page: compares the counts, the total and the list of consumers in every frame. */
function watchCounts() {
  const number = (text) => Number(text.replaceAll(",", ""));
  const statuses = (selector) => [...document.querySelectorAll(selector)].map((one) => one.dataset.status.replace("no_offsets", "unknown"));
  window.counts_ = { frames: 0, wrong: [] };
  const compare = () => {
    requestAnimationFrame(compare);
    const total = document.querySelector("[data-total]")?.dataset.total;
    if (total === undefined) return;
    const [list, pressed] = [statuses("[role=cell] [data-status]"), statuses("[aria-pressed=true] [data-status]")];
    const counts = [...document.querySelectorAll("[data-count]")].map((one) => [one.dataset.count, number(one.textContent)]);
    const chosen = counts.filter(([status]) => pressed.length === 0 || pressed.includes(status));
    const sum = chosen.reduce((sum, [, count]) => sum + count, 0);
    const same = chosen.every(([status, count]) => count === list.filter((one) => one === status).length);
    window.counts_.frames += 1;
    if (sum !== Number(total) || list.length !== sum || !same) window.counts_.wrong.push(JSON.stringify({ counts, pressed, total, list }));
  };
  compare();
}
