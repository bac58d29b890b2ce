// Writes dist/licences.txt: the licence of everything that the bundle carries.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const lock = JSON.parse(readFileSync(new URL('package-lock.json', root), 'utf8'));
const parts = ['The CyxWiz dashboard carries these works:\n'];

for (const [path, entry] of Object.entries(lock.packages)) {
  if (path === '' || entry.dev) continue;
  const folder = new URL(`${path}/`, root);
  const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
  if (!file) throw new Error(`${path}: no licence file`);
  const name = path.replace(/^.*node_modules\//, '');
  parts.push(
    `\n=== ${name} ${entry.version} (${entry.license})\n\n${readFileSync(new URL(file, folder), 'utf8')}`,
  );
}
writeFileSync(new URL('dist/licences.txt', root), parts.join(''));
