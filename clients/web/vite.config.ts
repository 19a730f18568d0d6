import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { type Plugin, defineConfig } from "vite";

/** The questions of the README's cookbook, so that there is one place where they are written. */
function cookbook(): Plugin {
  const id = "virtual:cookbook";
  const readme = join(import.meta.dirname, "../../README.md");
  return {
    name: "cookbook",
    resolveId: (source) => (source === id ? `\0${id}` : undefined),
    load(source) {
      if (source !== `\0${id}`) return undefined;
      this.addWatchFile(readme);
      const block = /### Cookbook\s+```sql\n([\s\S]*?)```/.exec(readFileSync(readme, "utf8"))?.[1];
      if (!block) this.error("the README has no cookbook");
      const entries = block.trim().split(/\n\n(?=-- )/).map((text) => {
        const [question = "", ...lines] = text.split("\n");
        return { question: question.replace(/^-- /, ""), statement: lines.join("\n").replace(/;\s*$/, "") };
      });
      return `export default ${JSON.stringify(entries)}`;
    },
  };
}

/** Keeps each asset twice, compressed, and nothing else. Every browser takes gzip; brotli needs TLS or localhost. */
function compress(): Plugin {
  let out = "";
  return {
    name: "compress",
    apply: "build",
    configResolved: (config) => void (out = resolve(config.root, config.build.outDir, config.build.assetsDir)),
    closeBundle() {
      for (const name of readdirSync(out)) {
        const path = join(out, name);
        const bytes = readFileSync(path);
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
        writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params }));
        writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
        rmSync(path);
      }
    },
  };
}

export default defineConfig({
  plugins: [svelte(), cookbook(), compress()],
  build: {
    target: "es2022",
    // No data: URLs: the Content-Security-Policy knows only files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // A page is one file, not twenty. The parts that most pages share are another; those of one or two pages stay with them.
    cssCodeSplit: false,
    rolldownOptions: {
      output: { codeSplitting: { groups: [{ name: "shared", test: /src\/(parts\/(?!Heat|Find|Results|Editor|Relations|Members|Commits|TokenDialog|Inbox|Saved|Side|Sources)|gen|lib\/(?!arrow|charts|compare|editor|graphs|marks|past|run\.|saved|stored))/ }] } },
    },
    license: { fileName: "assets/licences.md" },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { "/offsetd.v1.OffsetService": process.env["OFFSETD_SERVER"] ?? "http://127.0.0.1:8088" } },
});
