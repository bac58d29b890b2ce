// Writes src/api/contract.gen.ts, the types of the REST contract, when it is older than the contract. Not kept in the
// repository, so that it cannot differ from docs/contracts.
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';

const contracts = new URL('../../docs/contracts/', import.meta.url);
const out = new URL('../src/api/contract.gen.ts', import.meta.url);
const sources = ['openapi.yaml', 'job.schema.json'].map((name) => new URL(name, contracts));
const newest = Math.max(...sources.map((source) => statSync(source).mtimeMs));

if (!existsSync(out) || statSync(out).mtimeMs < newest) {
  const text = `// Generated from docs/contracts by scripts/types.mjs.\n${astToString(await openapiTS(sources[0]))}`;
  if (!existsSync(out) || readFileSync(out, 'utf8') !== text) writeFileSync(out, text);
}
