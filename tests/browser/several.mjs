// Checks pages with several clusters, of which one is down.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { QUERIES, compare, wiki } from "./compare.mjs";
import { OUT, Server, assert, check, equal, on, until } from "./harness.mjs";

/** Starts a server with three clusters: east with all groups of the demo, west with two, and one that is down. The
 * site may show its pages in a frame. */
async function serve(demo, site) {
  const [{ bootstrap_servers }] = await demo.sql("SELECT bootstrap_servers FROM clusters WHERE cluster = 'demo'");
  const file = join(OUT, "several.toml");
  const cluster = (name, servers) => `[clusters.${name}]\nbootstrap_servers = "${servers}"\ntopic_ids = false\n`;
  writeFileSync(
    file,
    "[server]\nready_after = \"1s\"\n[audit]\nenabled = false\n[transactions]\nenabled = false\n" +
      `[server.http]\nframe_ancestors = "http://127.0.0.1:${site.port}"\n${QUERIES}` +
      cluster("east", bootstrap_servers) +
      `${cluster("west", bootstrap_servers)}[clusters.west.groups]\nallow = "^(billing|fulfilment)$"\n` +
      cluster("gone", "127.0.0.1:1"),
  );
  return new Server("several", "offsetd", (address) => ["serve", "--config", file, "--listen", "127.0.0.1:0", "--address-file", address]).ready();
}

/** Pages with lists, and the selectors of the cluster names in them. */
const LISTS = {
  "/": "section[aria-label='The ten worst groups'] td:first-child",
  "/consumers": "[role=cell]:first-child",
  "/active": "[role=cell]:first-child",
  "/topics": "[role=cell]:first-child",
  "/server": "section[aria-label^=Cluster] h2",
};

export async function several(browser, demo) {
  const site = await wiki();
  const server = await serve(demo, site);
  site.url = server.url;
  try {
    await until("both that are there", async () => (await server.sql("SELECT count(*) AS ready FROM clusters WHERE ready"))[0].ready === 2);
    for (const [path, rows] of Object.entries(LISTS)) {
      await check(`several clusters: ${path} shows all, or the one that is chosen, and links keep it`, () =>
        on(browser, server, path === "/active" ? "/active?view=list" : path, {}, async (page) => {
          const named = async () => new Set((await page.locator(rows).allInnerTexts()).map((text) => /\b(east|west|gone)\b/.exec(text)?.[1]));
          await until("more than one", async () => (await named()).has("east"));
          await page.getByLabel("Cluster", { exact: true }).selectOption("west");
          await until("only the one", async () => [...(await named())].join() === "west");
          equal(new URL(page.url()).searchParams.get("cluster"), "west");
          for (const name of ["Consumers", "Topics", "Overview", "Server"]) {
            await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
            equal(new URL(page.url()).searchParams.get("cluster"), "west", name);
          }
        }));
    }
    await check("several clusters: pages of a group lead back to lists of the chosen cluster", () =>
      on(browser, server, "/consumers?cluster=west", {}, async (page) => {
        await page.locator("[data-group]", { hasText: "billing" }).click();
        await page.getByText("in west").waitFor();
        await page.getByRole("link", { name: "orders" }).first().click();
        await page.getByText("in west").waitFor();
        await page.getByRole("navigation").getByRole("link", { name: "Consumers" }).click();
        await until("two groups", async () => (await page.locator("[data-group]").count()) === 2);
        equal(new URL(page.url()).searchParams.get("cluster"), "west");
      }));
    await check("a cluster that is down is left out of all, which says so", async () => {
      for (const path of ["/", "/consumers", "/active", "/topics"])
        await on(browser, server, path, {}, (page) => page.locator("[data-without=gone]").waitFor());
    });
    const down = ["/", "/consumers", "/active?view=list", "/topics", "/server", "/group?id=billing", "/topic?name=orders"];
    for (const path of down) {
      await check(`a cluster that is down is not shown as empty: ${path}`, () =>
        on(browser, server, `${path}${path.includes("?") ? "&" : "?"}cluster=gone`, {}, async (page) => {
          await page.locator("[data-banner]", { hasText: "gone" }).waitFor();
          await until("all answers", () => page.evaluate(() => !document.querySelector("[aria-busy=true]")));
          if (path !== "/server") await page.getByText("could not be read").or(page.getByText("Loading…")).first().waitFor();
          const text = await page.locator("main").innerText();
          const empty = /There is no|No group has|Nothing to|No commit for|\b0 (groups|topics|offsets)/.exec(text);
          assert(!empty, `${empty?.[0]}: ${text}`);
          if (path === "/server") equal(await page.locator("dt", { hasText: /^Groups$/ }).locator("+ dd").first().innerText(), "–\nunknown");
        }));
    }
    await check("a link without a cluster offers those that have the group or the topic", async () => {
      for (const [path, there] of [["/group?id=billing", "east,west"], ["/group?id=ledger-writer", "east"], ["/topic?name=orders", "east,west"]])
        await on(browser, server, path, {}, async (page) => {
          await until("the clusters", async () => (await page.locator("main a.button").allTextContents()).join() === there);
          await page.locator("[data-without=gone]").waitFor();
          await page.getByRole("link", { name: "east" }).click();
          await page.getByText("in east").waitFor();
        });
    });
    await check("a link without a cluster leads to the only one", async () => {
      for (const path of ["/group?id=billing", "/topic?name=orders"])
        await on(browser, demo, path, {}, async (page) => {
          await until("the cluster in the URL", () => new URL(page.url()).searchParams.get("cluster") === "demo");
          await page.getByRole("link", { name: /^SQL of this/ }).waitFor();
        });
      await on(browser, demo, "/group?id=missing", {}, (page) => page.getByText("There is no such group.").waitFor());
    });
    await compare(browser, server, site);
  } finally {
    site.close();
    await server.stop();
  }
}
