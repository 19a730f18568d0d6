// Checks long names: they are folded in the middle, in full on hover, and copied in full.
import { assert, check, equal, on, until } from "./harness.mjs";

const LONG = "long-".repeat(40);
const group = `/group?${new URLSearchParams({ cluster: "stage", id: LONG })}`;

/** How the first name of a long text is shown: whether its middle is cut, whether its end is in sight, and what a selection of it gives. */
function shown(link) {
  return link.evaluate((link) => {
    const [name, start, end] = [".name", ".start", ".end"].map((part) => link.querySelector(part));
    const box = link.closest("[role=cell], td, li, dd").getBoundingClientRect();
    getSelection().selectAllChildren(name);
    return {
      cut: start.scrollWidth > start.clientWidth,
      endInSight: end.getBoundingClientRect().right <= box.right + 1 && end.getBoundingClientRect().width > 20,
      title: name.title,
      selected: getSelection().toString(),
      end: end.textContent,
    };
  });
}

export async function names(browser, server) {
  for (const [path, link] of [
    ["/consumers?q=long-long", "[data-group]"],
    ["/active?view=list&within=1440&q=long-long", "[role=cell] a"],
    ["/active?view=graph&within=1440&q=long-long", "a[data-node=group]"],
  ])
    for (const width of [400, 1280, 2560])
      await check(`${path}: a long name shows its ends at ${width} px, and is copied in full`, () =>
        on(browser, server, path, { width, height: 900 }, async (page) => {
          const first = page.locator(link).first();
          await first.locator(".end").waitFor({ state: "attached" });
          const name = await shown(first);
          assert(name.cut && name.endInSight && name.title.startsWith(LONG), name);
          equal([name.selected, name.end], [LONG, LONG.slice(-10)]);
        }));
  await check("names that fit are whole: they are cut only where there is no room", () =>
    on(browser, server, "/consumers?q=GROUP-0001", { width: 2560, height: 1440 }, async (page) => {
      await page.locator("[data-group]").first().waitFor();
      equal(await page.locator(".start").evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.parentElement.title)), []);
    }));
  await check("the page of a group with a long name has it in full, and fits", () =>
    on(browser, server, group, { width: 400, height: 800 }, async (page) => {
      await page.locator("[data-figure=lag]").waitFor();
      equal(await page.locator("h1").textContent(), LONG);
      await until("a page that does not scroll sideways", () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    }));
}
