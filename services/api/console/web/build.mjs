// node build.mjs DIRECTORY: bundles src/*.tsx into hashed assets and one page per entry point. Each file is also
// written as brotli and gzip.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const [, , BUILT] = process.argv;
const PAGES = { console: "callfold", operators: "callfold for operators" };

function page(title, script, style) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<link rel="icon" href="/console/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/console/${style}">
<script type="module" src="/console/${script}"></script>
</head>
<body><div id="page"></div><noscript>The console needs JavaScript.</noscript></body>
</html>
`;
}

async function write(name, content) {
  const file = join(BUILT, name);
  await writeFile(file, content);
  const options = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
  await writeFile(`${file}.br`, brotliCompressSync(content, options));
  await writeFile(`${file}.gz`, gzipSync(content, { level: 9 }));
}

/** The licences of the bundled libraries, which their terms ask to pass on. */
async function licences(metafile) {
  const packages = new Set();
  for (const file of Object.keys(metafile.inputs)) {
    const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file);
    if (found) packages.add(found[1]);
  }
  const texts = [...packages].sort().map(async (name) => {
    for (const file of ["LICENSE", "LICENSE.md", "license"]) {
      const text = await readFile(join("node_modules", name, file), "utf8").catch(() => null);
      if (text !== null) return `${name}\n\n${text}`;
    }
    throw new Error(`the package ${name} has no licence file`);
  });
  return (await Promise.all(texts)).join("\n\n");
}

await rm(BUILT, { recursive: true, force: true });
await mkdir(join(BUILT, "assets"), { recursive: true });
const { metafile, outputFiles } = await build({
  entryPoints: Object.keys(PAGES).map((name) => `src/${name}.tsx`),
  outdir: join(BUILT, "assets"),
  entryNames: "[name]-[hash]",
  chunkNames: "shared-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2023", "chrome120", "firefox120", "safari17"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  minify: true,
  metafile: true,
  write: false,
});
for (const file of outputFiles) await write(`assets/${basename(file.path)}`, file.contents);
await write("assets/icon.svg", await readFile("src/icon.svg"));
await write("licences.txt", await licences(metafile));
const outputs = Object.keys(metafile.outputs).map((path) => `assets/${basename(path)}`);
for (const [name, title] of Object.entries(PAGES)) {
  const of = (suffix) =>
    outputs.find((path) => path.startsWith(`assets/${name}-`) && extname(path) === suffix);
  await write(`${name}.html`, page(title, of(".js"), of(".css")));
}
