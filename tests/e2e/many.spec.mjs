// Ten thousand jobs in the list, real ones that wait for a node that never comes: they are read, sorted and found, few rows
// are drawn, the page holds under 300 MB. Frames a second while scrolling are told and not judged: without a GPU they
// measure the machine. Takes minutes, so it is run alone: tests/e2e/run many.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, login, openPage, shoot, signIn } from './support.mjs';

const arrays = 50;
const each = 200;
const tries = 20;
const mostBytes = 300 * 1024 * 1024;
const framesLooked = 180;
const token = process.env.CYXWIZ_E2E_TOKEN;

function waiting(index) {
  return {
    name: `many-${index}`,
    model: { layers: [{ type: 'Flatten' }, { type: 'Linear', out_features: 10 }] },
    data: { dataset: 'fashion-mnist', batch_size: 64 },
    loss: { type: 'CrossEntropyLoss' },
    optimizer: { type: 'SGD', lr: 0.01 * (index + 1) },
    epochs: index + 1,
    budget: '0.01 CYX',
    resources: { labels: ['no-such-node'] },
    schedule: { array: each },
  };
}

/** Sent again under its key while the scheduler is busy with the ones before. */
async function submit(index) {
  for (let left = tries; ; left--) {
    const answer = await fetch(`${login.url}/api/v1/jobs`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'idempotency-key': `many-${index}`,
      },
      body: JSON.stringify(waiting(index)),
    });
    if (answer.ok) return;
    const said = await answer.text();
    assert.ok(answer.status === 503 && left > 0, said);
  }
}

/** Scrolls `pixels` a frame and tells how long each frame took, in milliseconds. */
async function scrollFrames(page, pixels) {
  return page.evaluate(
    ([count, by]) =>
      new Promise((resolve) => {
        const times = [];
        let last = performance.now();
        function frame(now) {
          times.push(now - last);
          last = now;
          scrollBy(0, by);
          if (times.length < count) requestAnimationFrame(frame);
          else resolve(times.slice(5));
        }
        requestAnimationFrame(frame);
      }),
    [framesLooked, pixels],
  );
}

describe('ten thousand jobs', () => {
  let browser;
  let page;

  before(async () => {
    for (let index = 0; index < arrays; index++) await submit(index);
    browser = await launch();
    ({ page } = await openPage(browser, {}));
    await page.goto('/');
    await signIn(page);
    await page.locator('.jobs-table').waitFor();
  });
  after(() => browser?.close());

  test('test_web__ten_thousand_jobs_are_read_sorted_and_found', { timeout: 300_000 }, async () => {
    await page.goto('/jobs?sort=lr.up');
    await page.getByText(`${(arrays * each).toLocaleString('en-GB')} jobs`).waitFor({ timeout: 240_000 });
    const rows = await page.locator('.jobs-table tbody tr[aria-rowindex]').count();
    assert.ok(rows < 80, `${rows} rows are drawn`);
    await page.getByRole('searchbox').fill('epochs:7');
    await page.getByText(`${each.toLocaleString('en-GB')} jobs`, { exact: true }).waitFor();
    await page.getByRole('searchbox').fill('');
    await page.getByText(`${(arrays * each).toLocaleString('en-GB')} jobs`).waitFor();
    await shoot(page, 'jobs-many-desktop-light');
  });

  test('test_web__ten_thousand_jobs_scroll_in_little_memory', {
    timeout: 120_000,
  }, async (context) => {
    const times = await scrollFrames(page, 240);
    const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
    const session = await page.context().newCDPSession(page);
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize } = await session.send('Runtime.getHeapUsage');
    const slow = [...times].sort((a, b) => b - a)[Math.floor(times.length / 20)];
    context.diagnostic(
      `${(1000 / mean).toFixed(1)} frames/s, one in twenty above ${slow.toFixed(0)} ms, heap ${(usedSize / 1048576).toFixed(0)} MiB`,
    );
    assert.ok(usedSize < mostBytes, `${usedSize} bytes`);
    const rows = await page.locator('.jobs-table tbody tr[aria-rowindex]').count();
    assert.ok(rows > 10 && rows < 80, `${rows} rows are drawn`);
    assert.ok((await page.evaluate(() => scrollY)) > 30_000, 'it has scrolled');
  });
});
