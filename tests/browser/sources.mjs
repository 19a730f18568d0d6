// Checks a second source of offsets: it is shown separately on every page, and never added to the cluster's own.
import { assert, check, equal, on, until } from "./harness.mjs";

export async function sources(browser, server) {
  await server.tell("source");
  await until("the source", async () => (await server.sql("SELECT count(*) AS n FROM groups WHERE source = 'redis'"))[0].n === 2);
  const source = (page) => page.getByLabel("Source", { exact: true });
  const kept = (page) => new URL(page.url()).searchParams.get("source");
  await check("sources: the list shows where offsets are kept, and one source when it is chosen", () =>
    on(browser, server, "/consumers", {}, async (page) => {
      await source(page).selectOption("redis");
      await until("two groups", async () => (await page.locator("[data-total]").getAttribute("data-total")) === "2");
      equal(await page.locator("[data-source]").allInnerTexts(), ["redis", "redis"]);
      await page.getByRole("link", { name: "SQL of this list" }).click();
      await page.getByText("2 rows in").waitFor();
      await page.goBack();
      for (const name of ["Overview", "Active"]) {
        await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
        await until(`the source in the URL of ${name}`, () => kept(page) === "redis");
      }
    }));
  await check("sources: a group is told by its source, with the owners of the same group in Kafka", () =>
    on(browser, server, "/consumers?source=redis", {}, async (page) => {
      await page.locator("[data-group]", { hasText: ".." }).click();
      await until("its page", () => kept(page) === "redis" && page.url().includes("/group?"));
      equal(await page.locator("[data-committed='orders-0']").innerText(), "500");
      await page.getByText("<b>one</b>").first().waitFor();
      await page.getByText("The source redis knows no members.").waitFor();
      await page.locator(".note").getByRole("link", { name: "kafka" }).click();
      await until("the other one", () => kept(page) === null);
      await until("its offset", async () => (await page.locator("[data-committed='orders-0']").innerText()) !== "500");
    }));
  await check("sources: a group with offsets in another source is not a problem", () =>
    on(browser, server, "/consumers?q=job", {}, async (page) => {
      await page.locator("[data-kept=redis]", { hasText: "offsets kept in redis" }).waitFor();
      equal(await page.locator("[data-group]").count(), 2);
      await page.locator("[role=row]", { has: page.locator("[data-kept]") }).locator("[data-group]").click();
      await page.locator(".note").getByRole("link", { name: "redis" }).click();
      await until("the other half", () => kept(page) === "redis");
      await page.getByText("Its readers are members of the group of this id in").waitFor();
    }));
  await check("sources: the overview adds up no two of them", () =>
    on(browser, server, "/", {}, async (page) => {
      await page.locator("[data-lag-of=redis]").waitFor();
      const [{ lag }] = await server.sql("SELECT sum(lag) AS lag FROM groups WHERE source = 'redis'");
      equal((await page.locator("[data-lag-of=redis] .num").getAttribute("title")).replace(/[^0-9]/g, ""), String(lag));
      await page.locator("[data-kept-elsewhere='1']").waitFor();
    }));
  await check("sources: the topic's page has the consumers of all sources, or of the chosen one", () =>
    on(browser, server, "/topic?cluster=stage&name=orders", {}, async (page) => {
      const consumers = page.getByRole("region", { name: "Consumers", exact: true });
      await consumers.locator("[data-source=kafka]").first().waitFor();
      await source(page).selectOption("redis");
      await until("only those of redis", async () => [...new Set(await consumers.locator("[data-source]").allInnerTexts())].join() === "redis");
      equal(await consumers.locator("tbody tr").count(), 2);
      equal(await page.locator("[data-figure=groups] .num").innerText(), "2");
    }));
  await check("sources: the server's page tells how each was read, and the rejected keys", () =>
    on(browser, server, "/server", {}, async (page) => {
      await page.locator("[data-mode=log]").waitFor();
      const facts = (name) =>
        page.locator(`[data-source-status=${name}] dl > div`).evaluateAll((all) => Object.fromEntries(all.map((one) => [one.children[0].textContent, one.children[1].textContent.trim()])));
      const [redis, kafka] = [await facts("redis"), await facts("kafka")];
      equal([redis.Kind, redis.State, redis.Entries, redis.Malformed, redis.Unmatched, redis.Ambiguous, redis.Forbidden, redis.Interval], ["redis", "live", "2", "1", "0", "0", "0", "1 s"]);
      assert(/^(now|\d+ s ago) in/.test(redis["Last read"]), redis);
      equal([kafka.Kind, kafka.Mode, kafka.State, kafka["Last read"]], ["kafka", "log", "live", "continuously"]);
      await page.getByLabel("Sources of stage").getByText("orders:broken").waitFor();
      await page.getByRole("link", { name: "SQL of its sources" }).click();
      await page.getByText("1 row in").waitFor();
    }));
  await check("sources: a link to a group of several sources without a cluster offers each", () =>
    on(browser, server, "/group?id=job", {}, async (page) => {
      await until("both", async () => (await page.locator("main a.button").allTextContents()).join(";") === "stage;stage, redis");
    }));
}
