// Checks the SQL page.
import { readFileSync } from "node:fs";
import { assert, check, equal, on, until } from "./harness.mjs";

const link = (statement) => `/sql?${new URLSearchParams({ q: statement })}`;
const done = (page) => page.locator("[data-state=done]").waitFor();
const cells = (page) => page.locator("[role=rowgroup].rows [role=cell]").allTextContents().then((all) => all.map((text) => text.trim()));

async function write(page, text) {
  await page.locator(".cm-content").click();
  await page.keyboard.press("Control+a");
  await page.keyboard.type(text);
}

async function saved(page, name) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name, exact: true }).click()]);
  return readFileSync(await download.path());
}

export async function sql(browser, server) {
  await check("SQL: completes columns of the tables that are named, tables and aliases", () =>
    on(browser, server, "/sql", {}, async (page) => {
      const offered = (label) => page.locator(".cm-tooltip-autocomplete li", { hasText: label }).first().waitFor();
      await page.locator(".cm-content").waitFor();
      // Names come from the server; until they are loaded, only keywords are offered.
      await page.getByText("Tables", { exact: true }).click();
      await page.locator(".tables code", { hasText: "consumers" }).first().waitFor();
      await page.getByText("Tables", { exact: true }).click();
      await write(page, "SELECT count(*) FROM consu");
      await offered("consumers");
      await page.keyboard.press("Escape");
      await write(page, "SELECT g.lag FROM groups g WHERE g.max_l");
      await offered("max_lag_seconds");
      await page.locator(".cm-tooltip-autocomplete li", { hasText: "max_lag_seconds" }).click();
      await page.keyboard.type(" IS NULL");
      const text = await page.locator(".cm-content").innerText();
      assert(/g\.max_lag_seconds IS NULL/.test(text), text);
      await page.keyboard.press("Control+Enter");
      await done(page);
    }));
  await check("SQL: an error is shown at its place", () =>
    on(browser, server, link("SELECT group_id,\n  lagg FROM groups"), {}, async (page) => {
      await page.getByText("Line 2, column 3").waitFor();
      equal(await page.locator(".cm-wrong").innerText(), "lagg");
      await write(page, "SELECT 1 +");
      await page.getByRole("button", { name: "Run" }).click();
      await page.getByText("Line 1, column 11").waitFor();
      await write(page, "SELECT 1 AS one");
      await page.getByRole("button", { name: "Run" }).click();
      await done(page);
      equal([await cells(page), await page.locator(".cm-wrong").count()], [["1"], 0]);
    }));
  await check("SQL: every question of the cookbook runs", () =>
    on(browser, server, "/sql", {}, async (page) => {
      const menu = page.locator("summary", { hasText: "Examples" });
      await menu.click();
      const questions = await page.locator("details[open] li button").allTextContents();
      assert(questions.length >= 8, questions);
      await menu.click();
      for (const question of questions) {
        await menu.click();
        await page.locator("details[open]").getByRole("button", { name: question }).click();
        await until(`an end of ${question}`, () => page.locator("[data-state]").getAttribute("data-state").then((state) => state !== "running" && state));
        equal(await page.locator("[data-state]").getAttribute("data-state"), "done", question);
      }
      await page.locator("summary", { hasText: /^History$/ }).click();
      equal(await page.locator("details[open] li code").count(), questions.length);
    }));
  await check("SQL: a result is exported as CSV, JSON and Arrow, exactly", () =>
    on(browser, server, link("SELECT 'a,\"b\"' AS a, 9007199254740993 AS b, NULL AS c, '' AS d, TIMESTAMP '2026-01-02T03:04:05.678' AS e, 1.5 AS f, 3 = 3 AS g"), {}, async (page) => {
      await done(page);
      equal((await saved(page, "CSV")).toString(), 'a,b,c,d,e,f,g\n"a,""b""",9007199254740993,,"",2026-01-02T03:04:05.678Z,1.5,true\n');
      equal(JSON.parse((await saved(page, "JSON")).toString()), [{ a: 'a,"b"', b: "9007199254740993", c: null, d: "", e: "2026-01-02T03:04:05.678Z", f: 1.5, g: true }]);
      const arrow = await saved(page, "Arrow");
      equal(arrow.readInt32LE(0), -1, "the continuation marker of a message");
      equal(arrow.readInt32LE(arrow.length - 4), 0, "the end of the stream");
    }));
  await check("SQL: no text of an exported CSV is a formula", () =>
    on(browser, server, link("SELECT '=1+1' AS a, '-x' AS \"@b\", -5 AS c, '  +\"y\"' AS d, chr(9) || 'z' AS e, 'f=1' AS f, make_array('=') AS g, -9007199254740993 AS h"), {}, async (page) => {
      await done(page);
      equal((await saved(page, "CSV")).toString(), `a,"'@b",c,d,e,f,g,h\n"'=1+1","'-x",-5,"'  +""y""","'\tz",f=1,"[""=""]",-9007199254740993\n`);
      equal(JSON.parse((await saved(page, "JSON")).toString())[0].a, "=1+1");
    }));
  await check("SQL: a statement is saved under a name, replaced, run, deleted and restored", () =>
    on(browser, server, "/sql", {}, async (page) => {
      const menu = page.locator("summary.button", { hasText: "Saved" });
      const name = page.getByLabel("Name of the statement");
      const list = page.getByRole("list", { name: "Saved statements" });
      const stored = () => page.evaluate(() => JSON.parse(localStorage.getItem("offsetd-saved")).map((one) => `${one.name}: ${one.statement}`));
      const save = async (statement, button) => {
        await write(page, statement);
        await menu.click();
        await name.fill("mine");
        await page.getByRole("button", { name: button, exact: true }).click();
        await page.getByText("Saved as mine.").waitFor();
        await menu.click();
      };
      await page.locator(".cm-content").waitFor();
      await save("SELECT 1 AS a", "Save");
      await save("SELECT 2 AS b", "Replace");
      equal(await stored(), ["mine: SELECT 2 AS b"]);
      await page.goto(`${server.url}/sql`);
      await page.getByRole("list", { name: "Saved in this browser" }).getByText("mine").click();
      await done(page);
      equal(await cells(page), ["2"]);
      await menu.click();
      await page.getByRole("button", { name: "Delete mine" }).click();
      equal(await stored(), []);
      await page.getByRole("button", { name: "Undo" }).click();
      await list.getByRole("button", { name: "mine", exact: true }).click();
      await done(page);
      equal(await stored(), ["mine: SELECT 2 AS b"]);
    }));
  await check("SQL: bad data in the browser's storage is ignored, and saved statements are bounded", () =>
    on(browser, server, "/sql", {}, async (page) => {
      const set = (values) => page.evaluate((values) => Object.entries(values).forEach(([key, value]) => localStorage.setItem(key, value)), values);
      const good = JSON.stringify({ name: "good", statement: "SELECT 1 AS a" });
      const bad = `[null, 5, {}, {"name": 1}, {"name": "", "statement": "x"}, ${good}, ${good}]`;
      for (const [saved, expected] of [["{", 0], ["null", 0], ["[[[", 0], [bad, 1]]) {
        await set({ "offsetd-saved": saved, "offsetd-statements": `[null, {"statement": 1}, {"statement": "SELECT 1", "at": "x"}]` });
        await page.reload();
        await page.locator("summary.button", { hasText: "Saved" }).click();
        await page.getByLabel("Name of the statement").waitFor();
        equal(await page.getByRole("button", { name: /^Delete / }).count(), expected, saved);
      }
      await set({ "offsetd-saved": JSON.stringify(Array.from({ length: 100 }, (_, at) => ({ name: `n${at}`, statement: "SELECT 1" }))) });
      await page.reload();
      await page.locator("summary.button", { hasText: "Saved" }).click();
      await page.getByLabel("Name of the statement").fill("one more");
      await page.getByRole("button", { name: "Save", exact: true }).click();
      await page.getByText("100 statements are saved. Delete one first.").waitFor();
    }));
  await check("SQL: EXPLAIN shows the plan, and its errors in the statement that was written", () =>
    on(browser, server, "/sql", {}, async (page) => {
      await page.locator(".cm-content").waitFor();
      await write(page, "SELECT * FROM lag WHERE group_id = 'billing'");
      await page.getByRole("button", { name: "Explain" }).click();
      await page.locator("pre.plan").first().waitFor();
      await write(page, "SELECT nothing FROM lag");
      await page.getByRole("button", { name: "Explain" }).click();
      await page.getByText("Line 1, column 8").waitFor();
    }));
  await check("SQL: no rows, and sixty columns", () =>
    on(browser, server, link("SELECT group_id FROM groups WHERE 1 = 0"), {}, async (page) => {
      await page.getByText("No rows. Columns: group_id.").waitFor();
      const many = Array.from({ length: 60 }, (_, at) => `${at} AS column_${at}`).join(", ");
      await page.goto(server.url + link(`SELECT ${many}`));
      await done(page);
      equal((await cells(page)).length, 60);
      assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page must not scroll horizontally");
    }));
  await check("SQL: a result with a time column is drawn", () =>
    on(browser, server, link("SELECT date_bin(INTERVAL '5 seconds', committed_at) AS at, count(*) AS commits FROM commits GROUP BY 1 ORDER BY 1"), {}, async (page) => {
      await done(page);
      await page.getByRole("button", { name: "Chart" }).click();
      await page.getByRole("img", { name: "commits over time" }).locator("canvas").waitFor();
    }));
}

export async function large(browser, server) {
  // Computes for minutes before its second row, on any machine.
  const endless = "SELECT 1 AS n UNION ALL SELECT count(*) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d WHERE a.position + b.position + c.position + d.position < 0";
  const many = "SELECT a.group_id, a.committed_offset, b.partition FROM offsets a CROSS JOIN (SELECT partition FROM partitions WHERE topic = 'wide' AND partition < 15) b WHERE a.topic = 'orders'";
  await check("SQL: a million rows scroll to the last, and a cell of it is there", () =>
    on(browser, server, link(`${many} LIMIT 900000`), {}, async (page) => {
      await page.locator("[data-state=done]").waitFor({ timeout: 120_000 });
      equal(await page.getByRole("table", { name: "Result" }).getAttribute("aria-rowcount"), "900001");
      await page.getByRole("region", { name: "Result", exact: true }).last().evaluate((box) => box.scrollTo(0, box.scrollHeight));
      await until("the last row", () => page.locator("[aria-rowindex='900001'] [role=cell]").first().textContent());
      assert((await page.locator("[role=row]").count()) < 100, "only visible rows are rendered");
    }));
  await check("SQL: a statement is cancelled, and what came is kept", () =>
    on(browser, server, link(endless), {}, async (page) => {
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.locator("[data-state=cancelled]").waitFor();
      await page.getByRole("button", { name: "Run" }).waitFor();
    }));
}
