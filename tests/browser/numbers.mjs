// Checks that every list links to a statement that returns its rows and its cells.
import { check, equal, on, until } from "./harness.mjs";

const plain = (text) => text.replaceAll(",", "");
const host = (row) => row.client_host?.replace(/^\//, "");
const owner = (row) => row.client_id ?? "no owner";

/** Page, name of the link, table (its name, or its section), and the SQL column of each of its columns. */
const LISTS = [
  ["/", "the ten worst groups", { section: "The ten worst groups" }, { Group: "group_id", Status: "status", Lag: "lag", Members: "members" }],
  ["/consumers?q=GROUP-0001", "this list", "Consumer groups",
    { Group: "group_id", Status: "status", Lag: "lag", Topics: "topic_names", Members: "members", State: "state", Kind: "kind" }],
  ["/active?view=list&q=QUOTED&within=60", "these connections", "Connections",
    { Group: "group_id", Topic: "topic", "Group's status": "status", Lag: "lag", Owner: owner, Partitions: "partitions" }],
  ["/topics", "these topics", "Topics",
    { Topic: "topic", Groups: "groups", Active: "active_groups", Partitions: "partitions", "Log ends": "log_end_offset_sum" }],
  [`/group?${new URLSearchParams({ cluster: "stage", id: "<img src=x onerror=alert(1)>" })}`, "the partitions", "Partitions of the group",
    { Topic: "topic", Partition: "partition", Status: "status", Lag: "lag", Committed: "committed_offset", "Log end": "log_end_offset", Owner: owner, Host: host }],
  ["/topic?cluster=stage&name=wide", "the consumers", { section: "Consumers" }, { Group: "group_id", "Status on this topic": "status", Lag: "lag", Partitions: "partitions" }],
  ["/topic?cluster=stage&name=orders", "the partitions", "Partitions of the topic",
    { Partition: "partition", "Log end": "log_end_offset", "Log start": "log_start_offset", "Last stable": "last_stable_offset", Leader: "leader" }],
  ["/server", "its log partitions", "Log partitions of stage",
    { Partition: "log_partition", State: "state", Behind: "behind", Position: "position", Records: "records", Deletions: "tombstones", Errors: "not_decoded" }],
];

/** The parts of the server's page, each with its link and its facts. */
const FACTS = [
  ["the server", ["version", "git_revision", "started_at", "uptime_seconds", "resident_bytes", "held_bytes"]],
  ["its state", ["ready", "progress", "remaining_seconds", "brokers", "history_since", "audited_groups", "audit_differences"]],
];

/** Returns the visible part of a table: names of its columns, and texts of its cells. */
function shown(page, table) {
  const found = typeof table === "string" ? page.getByRole("table", { name: table }) : page.getByRole("region", { name: table.section, exact: true }).locator("table");
  return found.evaluate((table) => {
    const [head, ...rows] = [...table.querySelectorAll("[role=row], tr")];
    const texts = (row) => [...row.querySelectorAll("[role=columnheader], [role=cell], th, td")].map((cell) => cell.innerText.trim().replace(/[↑↓]/, ""));
    return [texts(head).map((name) => name.trim()), rows.map(texts)];
  });
}

function cells(columns, row) {
  return Object.values(columns).map((of) => {
    const value = typeof of === "function" ? of(row) : row[of];
    return value === null || value === undefined ? "–" : String(value).replace("_", " ");
  });
}

export async function numbers(browser, server) {
  for (const [path, link, table, columns] of LISTS) {
    await check(`${path}: the SQL of ${link} gives its rows and cells`, () =>
      // Wide enough for all columns.
      on(browser, server, path, { width: 1600 }, async (page) => {
        const a = page.getByRole("link", { name: `SQL of ${link}`, exact: true });
        await a.waitFor();
        // Groups become inactive and offsets move, so page and statement are compared until nothing changed in between.
        await until("the same", async () => {
          const statement = new URL(await a.getAttribute("href"), server.url).searchParams.get("q");
          const [names, rows] = await shown(page, table);
          const given = (await server.sql(statement)).map((row) => cells(columns, row));
          // Only the visible rows of a long list, and only the first line of a cell, since notes follow it.
          const seen = rows.map((row) => Object.keys(columns).map((name) => plain(row[names.indexOf(name)]).split("\n")[0].replace(/without consumers$/, "").trim()));
          equal(seen, given.slice(0, seen.length).map((row) => row.map(plain)), path);
          return seen.length > 0 || undefined;
        });
      }));
  }
  await check("/server: the SQL of its facts has them", () =>
    on(browser, server, "/server", {}, async (page) => {
      for (const [link, columns] of FACTS) {
        const a = page.getByRole("link", { name: `SQL of ${link}`, exact: true });
        await a.waitFor();
        const rows = await server.sql(new URL(await a.getAttribute("href"), server.url).searchParams.get("q"));
        equal(rows.length, 1, link);
        equal(columns.filter((column) => !(column in rows[0])), [], link);
      }
    }));
}
