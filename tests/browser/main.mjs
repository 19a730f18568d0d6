// Runs the browser tests of the dashboard. The optional argument is a regular expression that selects checks by name.
import { gaps, lists, pages, screenshots } from "./demo.mjs";
import { graph } from "./graph.mjs";
import { demo, launch, stage, summary } from "./harness.mjs";
import { names } from "./names.mjs";
import { numbers } from "./numbers.mjs";
import { operator } from "./operator.mjs";
import { origin } from "./origin.mjs";
import { several } from "./several.mjs";
import { sources } from "./sources.mjs";
import { sql } from "./sql.mjs";
import { away, staged, token } from "./stage.mjs";

const GROUPS = 65_000;
const browser = await launch();
const servers = [demo(), stage(GROUPS)];
try {
  const [small, great] = await Promise.all(servers.map((server) => server.ready()));
  await lists(browser, small);
  await gaps(browser, small);
  await operator(browser, small);
  await sql(browser, small);
  await origin(small);
  await several(browser, small);
  await numbers(browser, great);
  await staged(browser, great, GROUPS);
  await graph(browser, great, GROUPS);
  await names(browser, great);
  await away(browser, great);
  await sources(browser, great);
  await token(browser);
  await pages(browser, small);
  await screenshots(browser, small);
} finally {
  await browser.close();
  await Promise.all(servers.map((server) => server.stop()));
}
process.exit(summary() ? 0 : 1);
