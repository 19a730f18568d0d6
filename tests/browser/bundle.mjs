// Checks that the bundle in the repository is built from the sources, and that it is small.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { assert, check, equal, summary } from "./harness.mjs";

const WEB = join(import.meta.dirname, "../../clients/web");
const DIST = join(WEB, "dist");
const KIB = 1024;
const files = (folder) => readdirSync(folder, { recursive: true }).filter((name) => statSync(join(folder, name)).isFile()).sort();

/** Returns the decompressed content, because compressed bytes may differ between versions of Node. */
function content(folder, name) {
  const bytes = readFileSync(join(folder, name));
  if (name.endsWith(".br")) return brotliDecompressSync(bytes);
  return name.endsWith(".gz") ? gunzipSync(bytes) : bytes;
}

await check("the sources build to exactly the bundle that is embedded", () => {
  const out = mkdtempSync(join(tmpdir(), "bundle-"));
  try {
    const npm = (...words) => execFileSync("npm", ["run", "--silent", ...words], { cwd: WEB, stdio: ["ignore", "inherit", "inherit"] });
    npm("generate");
    npm("check");
    npm("bundle", "--", "--outDir", out, "--emptyOutDir", "--logLevel", "warn");
    equal(files(out), files(DIST), "the files differ; run `npm run build` in clients/web.");
    for (const name of files(DIST)) assert(content(out, name).equals(content(DIST, name)), `${name} differs: run \`npm run build\` in clients/web`);
  } finally {
    rmSync(out, { recursive: true });
  }
});

for (const suffix of [".br", ".gz"]) {
  const sizes = new Map(files(DIST).filter((name) => name.endsWith(suffix)).map((name) => [name, statSync(join(DIST, name)).size]));
  const sum = (names) => names.reduce((total, name) => total + sizes.get(name), 0) / KIB;
  await check(`the bundle (${suffix}) is at most 500 KiB in all`, () => {
    const all = sum([...sizes.keys()]);
    assert(all <= 500, `${all} KiB`);
    return `${all.toFixed(1)} KiB: ${[...sizes].map(([name, size]) => `${name.replace("assets/", "")} ${(size / KIB).toFixed(1)}`).join(", ")}`;
  });
  await check(`the first load (${suffix}) is at most 250 KiB`, () => {
    // The files that the document names, and then those of the overview, which draws charts.
    const document = readFileSync(join(DIST, "index.html"), "utf8");
    const named = [...sizes.keys()].filter((name) => document.includes(name.slice(0, -suffix.length)));
    const overview = [...sizes.keys()].filter((name) => /(Overview|charts)-/.test(name));
    const initial = sum([...new Set([...named, ...overview])]);
    assert(named.length >= 3 && overview.length === 2, [named, overview]);
    assert(initial <= 250, `${initial} KiB`);
    return `${initial.toFixed(1)} KiB with the overview and its charts, ${sum(named).toFixed(1)} without`;
  });
}
process.exit(summary() ? 0 : 1);
