// Checks the comparison of two sides, the statements of the operator, and the dashboard in a frame of another page.
import { createServer } from "node:http";
import { assert, check, equal, on, until } from "./harness.mjs";

/** The statements of the operator, as sections of the configuration. */
export const QUERIES =
  `[queries.stopped]\nstatement = "SELECT cluster, group_id\\nFROM groups WHERE status = 'stopped'"\ndescription = "Groups that no longer commit"\n` +
  `[queries.total]\nstatement = "SELECT count(*) AS n FROM groups"\n`;

const params = (sides) => `/compare?${new URLSearchParams(sides)}`;
const clusters = { left_cluster: "east", right_cluster: "west" };
const same = { ...clusters, left_group: "billing", right_group: "billing" };
const topics = (page) => page.locator("tbody[data-topic]").evaluateAll((all) => all.map((one) => [one.dataset.topic, one.querySelector("[data-only]")?.dataset.only]));

/** A site that shows the SQL page of a server in a frame. */
export async function wiki() {
  const site = { url: "" };
  const http = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(`<!doctype html><iframe src="${site.url}/sql?embed=1"></iframe>`));
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  return Object.assign(site, { port: http.address().port, close: () => http.close() });
}

export async function compare(browser, server, site) {
  await check("compare: two clusters by topic, the greatest difference first, topics of one side marked", () =>
    on(browser, server, params(clusters), {}, async (page) => {
      await page.locator("tbody[data-topic=orders]").waitFor();
      const counts = page.locator("[data-both]");
      const shown = await topics(page);
      const of = (only) => shown.filter(([, one]) => one === only).length;
      equal([await counts.getAttribute("data-both"), await counts.getAttribute("data-left"), await counts.getAttribute("data-right")], [of(undefined), of("left"), of("right")].map(String));
      assert(of(undefined) > 0 && of("left") > 0 && of("right") === 0, shown);
      // All of the SQL's rows are from one moment, so its distances decrease.
      await page.getByRole("link", { name: "SQL of the comparison" }).click();
      await page.locator("[data-state=done]").waitFor();
      const statement = new URL(page.url()).searchParams.get("q");
      const rows = await server.sql(statement);
      assert(rows.length > 1 && rows.every((row, at) => at === 0 || row.distance <= rows[at - 1].distance), rows);
      const both = rows.find((row) => row.only_on === null);
      equal(both.lag_difference, both.left_lag - both.right_lag);
      await page.goBack();
      await page.getByRole("button", { name: "Swap sides" }).click();
      await until("the other side", async () => (await counts.getAttribute("data-right")) === String(of("left")));
      equal(new URL(page.url()).searchParams.get("left_cluster"), "west");
    }));
  await check("compare: a topic opens its partitions, and another measure orders", () =>
    on(browser, server, params(same), {}, async (page) => {
      await page.locator("tbody[data-topic=orders] button").click();
      await page.locator("tr.partition th").first().waitFor();
      const [{ n }] = await server.sql("SELECT count(*) AS n FROM offsets WHERE cluster = 'east' AND group_id = 'billing' AND topic = 'orders'");
      equal(await page.locator("tr.partition th").count(), n);
      await page.getByRole("link", { name: "SQL of the partitions" }).waitFor();
      await page.getByRole("button", { name: "Committed", exact: true }).click();
      await page.locator("[aria-sort=descending]", { hasText: "Committed" }).waitFor();
      equal(new URL(page.url()).searchParams.get("sort"), "committed_offset");
      await page.reload();
      await page.locator("tr.partition th").first().waitFor();
      await page.locator("tbody[data-topic=orders] button").click();
      await until("no partitions", async () => (await page.locator("tr.partition").count()) === 0);
    }));
  await check("compare: a group leads to it, and the search offers the same group elsewhere", () =>
    on(browser, server, "/group?cluster=east&id=billing", {}, async (page) => {
      await page.getByRole("link", { name: "Compare", exact: true }).click();
      await page.getByText("Choose a cluster or a group on the right").waitFor();
      const right = page.getByRole("region", { name: "Right", exact: true });
      await right.getByRole("button", { name: "Choose a group" }).click();
      await page.getByRole("option", { name: /^billing group in west/ }).click();
      await page.locator("tbody[data-topic=orders]").waitFor();
      equal([...new URL(page.url()).searchParams].sort(), Object.entries(same).sort());
      await right.getByRole("button", { name: "All groups" }).click();
      await right.getByText("All groups of west").waitFor();
      await page.getByRole("navigation").getByRole("link", { name: "Overview", exact: true }).click();
      const compare = page.getByRole("region", { name: "Clusters" }).getByRole("link", { name: "compare" });
      await compare.first().click();
      await until("a side", () => new URL(page.url()).searchParams.get("left_cluster"));
    }));
  await check("compare: a cluster that is not there is an error, and no topic of one side", () =>
    on(browser, server, params({ left_cluster: "east", right_cluster: "gone" }), {}, async (page) => {
      await page.getByText("could not be read").or(page.getByText("Loading…")).first().waitFor();
      equal(await page.locator("tbody[data-topic]").count(), 0);
    }));
  await check("SQL: the statements of the operator are cards and a menu, and run", () =>
    on(browser, server, "/sql", {}, async (page) => {
      const cards = page.getByRole("list", { name: "Queries of this server" });
      await cards.getByText("Groups that no longer commit").waitFor();
      equal(await cards.locator("strong").allTextContents(), ["stopped", "total"]);
      await page.locator("summary.button", { hasText: "Queries" }).click();
      await page.locator("details[open] li button", { hasText: "total" }).click();
      await page.locator("[data-state=done]").waitFor();
      equal(new URL(page.url()).searchParams.get("q"), "SELECT count(*) AS n FROM groups");
    }));
  await check("only a page of a named origin shows the dashboard in a frame, without its navigation", async () => {
    const context = await browser.newContext();
    try {
      const page = await context.newPage();
      await page.goto(`http://127.0.0.1:${site.port}/`);
      await page.frameLocator("iframe").getByRole("list", { name: "Queries of this server" }).waitFor();
      equal(await page.frameLocator("iframe").getByRole("navigation").count(), 0);
      await page.goto(`http://localhost:${site.port}/`);
      await until("the refusal", () => page.frames().some((frame) => frame.url().startsWith("chrome-error:")));
    } finally {
      await context.close();
    }
  });
}
