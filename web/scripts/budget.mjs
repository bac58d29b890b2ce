// The first load (page, entry script with its static imports, styles, the preloaded font) may weigh 150 KB gzipped.
import { existsSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const limitBytes = 150 * 1024;
const dist = new URL('../dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'));

const files = new Set(['index.html', 'theme.js', 'favicon.svg']);
function add(key) {
  const chunk = manifest[key];
  if (!chunk || files.has(chunk.file)) return;
  files.add(chunk.file);
  for (const css of chunk.css ?? []) files.add(css);
  for (const asset of chunk.assets ?? []) if (/latin-wght-normal/.test(asset)) files.add(asset);
  for (const next of chunk.imports ?? []) add(next);
}
add('index.html');

let total = 0;
for (const file of [...files].sort()) {
  const body = readFileSync(new URL(file, dist));
  const bytes =
    existsSync(new URL(`${file}.gz`, dist)) || !/woff2$/.test(file)
      ? gzipSync(body, { level: 9 }).length
      : body.length;
  total += bytes;
  console.log(`${String(bytes).padStart(8)}  ${file}`);
}
console.log(`${String(total).padStart(8)}  first load, gzipped (limit ${limitBytes})`);
if (total > limitBytes) {
  console.error(`budget: the first load is ${total - limitBytes} bytes too heavy; load parts lazily`);
  process.exit(1);
}
