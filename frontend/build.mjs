// Bundle the console into one module that anywidget loads: `npm ci && npm run build`, or `node build.mjs OUTFILE`.
// The same sources and lock file give the same bytes. The first line names what it was built from, by hash, so that
// tests/unit/test_frontend.py sees a bundle that is older than its sources without any of these tools.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const hash = createHash("sha256");
for (const source of ["console.js", "build.mjs", "package.json", "package-lock.json"]) hash.update(readFileSync(here + source));

await build({
  absWorkingDir: here,
  entryPoints: ["console.js"],
  outfile: process.argv[2] ?? "../unibeam_nb/notebook/static/console.js",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  loader: { ".css": "text" },
  legalComments: "none",
  logLevel: "warning",
  banner: { js: `/* Built by frontend/build.mjs from sources ${hash.digest("hex")}; holds xterm.js (MIT, its authors). */` },
});
