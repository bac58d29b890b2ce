import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { hashOf, nextPart } from './uploads';

const part = 4 * 1024 * 1024;

test('test_uploads__the_hash_is_that_of_the_whole_over_all_slices', async () => {
  const bytes = randomBytes(5 * 1024 * 1024 + 17);
  const seen: number[] = [];
  const hash = await hashOf(new Blob([new Uint8Array(bytes)]), new AbortController().signal, (done) =>
    seen.push(done),
  );
  expect(hash).toBe(createHash('sha256').update(bytes).digest('hex'));
  expect(seen).toEqual([2097152, 4194304, bytes.length]);
});

test('test_uploads__hashing_stops_when_asked', async () => {
  const stopped = new AbortController();
  stopped.abort();
  await expect(hashOf(new Blob([new Uint8Array(9)]), stopped.signal, () => undefined)).rejects.toThrow();
});

test('test_uploads__parts_go_on_where_the_gateway_has_it', () => {
  expect(nextPart(0, 10, false)).toEqual({ from: 0, to: 10 });
  expect(nextPart(part, part * 3, false)).toEqual({ from: part, to: part * 2 });
  expect(nextPart(10, 10, false)).toBeNull();
  expect(nextPart(3, 10, true)).toEqual({ from: 0, to: 10 });
});
