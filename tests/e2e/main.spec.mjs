// The main job as a person does it: signs in, is shown a mistake at its place, submits, watches the curve move through
// a dropped connection, waits for the end, downloads the model. Then every page: accessibility, screenshots.
// Needs a running stack: CYXWIZ_E2E_URL, CYXWIZ_E2E_EMAIL, CYXWIZ_E2E_PASSWORD (tests/e2e/run makes one).
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  launch,
  login,
  openPage,
  relayTo,
  seriousFaults,
  shoot,
  shootWhole,
  signIn,
  sizes,
} from './support.mjs';

const trainingLimitMs = 240_000;
const batchSize = 32;
const trainImages = 60_000;
const epochs = 8;
const totalSteps = Math.ceil(trainImages / batchSize) * epochs;
// Names of this run alone, so that the tests can run twice on one stack.
const mark = Date.now().toString(36);
const curveName = `e2e-curve-${mark}`;
const drawnName = `e2e-drawn-${mark}`;
const cancelName = `e2e-cancel-${mark}`;

function smallSpec(name) {
  return {
    name,
    model: {
      layers: [
        { type: 'Flatten' },
        { type: 'Linear', name: 'fc1', in_features: 784, out_features: 128 },
        { type: 'ReLU' },
        { type: 'Linear', name: 'fc2', in_features: 128, out_features: 10 },
      ],
    },
    data: { dataset: 'fashion-mnist', batch_size: batchSize },
    loss: { type: 'CrossEntropyLoss' },
    optimizer: { type: 'AdamW', lr: 0.001 },
    epochs,
    seed: 7,
    budget: '1 CYX',
  };
}

/** Replaces the editor's text through the clipboard, as a person who pastes does. */
async function paste(page, text) {
  const editor = page.getByRole('textbox', { name: 'Job spec, JSON' });
  await editor.click();
  await page.evaluate((copied) => navigator.clipboard.writeText(copied), text);
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Control+v');
}

async function pointsShown(page) {
  return Number(await page.locator('.plot').first().getAttribute('data-points'));
}

/** The pixels of the loss curve that have the train line's colour: what is really drawn. */
async function inkOfCurve(page) {
  return page.evaluate(() => {
    const plot = document.querySelector('.plot');
    const canvas = plot?.querySelector('canvas');
    if (!canvas) return 0;
    const colour = getComputedStyle(plot).getPropertyValue('--data-1').trim();
    const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
      const apart = Math.abs(data[i] - red) + Math.abs(data[i + 1] - green) + Math.abs(data[i + 2] - blue);
      if (data[i + 3] > 200 && apart < 24) count += 1;
    }
    return count;
  });
}

async function until(what, look, limitMs = 20_000) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await look();
    if (value) return value;
    if (Date.now() > deadline) assert.fail(`waited ${limitMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('the dashboard', () => {
  let browser;
  let relay;
  let main;
  let jobUrl;
  let trains = false;
  let firstStep;
  let storageState;
  let compareUrl;
  let nodeUrl;

  before(async () => {
    browser = await launch();
    relay = await relayTo(login.url);
    main = await openPage(browser, { baseURL: relay.url });
  });
  after(async () => {
    await browser?.close();
    relay?.close();
  });

  test('test_web__the_page_comes_compressed_with_a_strict_policy', async () => {
    const answer = await fetch(`${login.url}/`);
    const policy = answer.headers.get('content-security-policy') ?? '';
    assert.match(policy, /default-src 'self'/);
    assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval/);
    const script = /src="(\/assets\/[^"]+\.js)"/.exec(await answer.text())?.[1];
    assert.ok(script, 'the page names its script');
    const asset = await fetch(login.url + script, { headers: { 'accept-encoding': 'gzip' } });
    assert.equal(asset.headers.get('content-encoding'), 'gzip');
    assert.match(asset.headers.get('cache-control') ?? '', /immutable/);
  });

  test('test_web__a_wrong_password_is_refused', async () => {
    const { page } = main;
    await page.goto('/');
    await signIn(page, `${login.password}x`);
    await page.getByRole('alert').getByText('do not go together').waitFor();
    assert.equal(await page.locator('#password').getAttribute('aria-invalid'), 'true');
    assert.equal(await page.getByRole('navigation', { name: 'Main' }).count(), 0);
  });

  test('test_web__signs_in_and_shows_an_empty_list_or_jobs', async () => {
    const { page, context } = main;
    await signIn(page);
    await page.getByRole('heading', { name: 'Jobs', exact: true }).waitFor();
    await page.locator('.empty, .jobs-table').first().waitFor();
    storageState = await context.storageState();
    await page.reload();
    await page.getByRole('heading', { name: 'Jobs', exact: true }).waitFor();
  });

  test('test_web__an_example_is_checked_and_priced', async () => {
    const { page } = main;
    await page.locator('.side').getByRole('link', { name: 'New job' }).click();
    await page.getByRole('button', { name: /^fashion-cnn/ }).click();
    await page.getByText('Ready to train').waitFor();
    const preview = page.locator('.preview');
    await preview.getByText('421,642').waitFor();
    await preview.getByText('At most 2.50 CYX').waitFor();
    await preview.getByText('180,000 images').waitFor();
    assert.equal(await page.locator('.shapes tbody tr').count(), 10);
  });

  test('test_web__broken_json_is_marked_where_it_breaks', async () => {
    const { page } = main;
    await paste(page, '{\n  "name": "x"\n  "epochs": 1\n}');
    await page.getByText('Line 3, column 3').waitFor();
    await page.locator('.cm-fault-note').getByText('comma').waitFor();
  });

  test('test_web__a_shape_error_stands_at_its_field', async () => {
    const { page } = main;
    const wrong = smallSpec('e2e-shape');
    wrong.model.layers[3].in_features = 129;
    const text = JSON.stringify(wrong, null, 2);
    const line = text.split('\n').findIndex((each) => each.includes('"in_features": 129')) + 1;
    await paste(page, text);
    const fault = page.locator('.fault');
    await fault.getByText(/128/).first().waitFor();
    const note = await fault.innerText();
    assert.match(note, /\/model\/layers\/3/);
    const shown = Number(/Line (\d+)/.exec(note)?.[1]);
    // The pointer names the field, or its layer where the layer as a whole does not fit.
    assert.ok(
      shown === line || shown === line - 3,
      `line ${shown} is shown, the field is in line ${line}\n${note}`,
    );
    await page.locator('.cm-fault-note').waitFor();
    await page.getByRole('button', { name: 'Submit job' }).click();
    await page.waitForFunction(() => document.querySelector('.editor-host')?.shadowRoot?.activeElement);
    assert.match(page.url(), /\/submit$/, 'a spec with an error is not submitted');
    assert.deepEqual(await seriousFaults(page), []);
    await shoot(page, 'submit-fault-desktop-light');
  });

  test('test_web__an_unknown_key_stands_at_its_field', async () => {
    const { page } = main;
    await paste(page, JSON.stringify({ ...smallSpec('e2e-key'), epoch: 3 }, null, 2));
    await page.locator('.fault .pointer').getByText('/epoch', { exact: true }).waitFor();
  });

  test('test_web__the_editor_offers_what_may_stand_there', async () => {
    const { page } = main;
    await paste(page, '{\n  "name": "x"\n}');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('End');
    await page.keyboard.type(',\n"opti');
    await page.locator('.cm-tooltip-autocomplete li', { hasText: 'optimizer' }).click();
    await until('the name with its colon', async () =>
      (await page.locator('.cm-content').innerText()).includes('"optimizer": '),
    );
  });

  test('test_web__form_network_and_json_stay_in_step', async () => {
    const { page } = main;
    await paste(page, JSON.stringify(smallSpec('e2e-step'), null, 2));
    const way = (name) => page.getByRole('radio', { name, exact: true }).check({ force: true });
    await way('Form');
    const form = page.getByRole('form', { name: 'Form' });
    await form.getByLabel('Batch size').fill('96');
    await form.getByLabel('Kind').nth(1).selectOption('SGD');
    await form.getByLabel('momentum').fill('0.9');
    await form.getByLabel('Epochs').fill('-1');
    await form.locator('#form-epochs[aria-invalid="true"]').waitFor();
    await form.getByLabel('Epochs').fill('2');
    await page.getByText('Ready to train').waitFor();
    assert.deepEqual(await seriousFaults(page), [], 'form');
    await shootWhole(page, 'submit-form-desktop-light');
    await way('JSON');
    const text = () => page.locator('.cm-content').innerText();
    await until('the form in the JSON', async () => {
      const now = await text();
      return /"batch_size": 96/.test(now) && /"momentum": 0.9/.test(now) && /"epochs": 2/.test(now);
    });
    await way('Network');
    await page.locator('.net-canvas[data-layers="4"] .react-flow__node').first().waitFor();
    await page.getByRole('group', { name: 'fc2', exact: true }).click();
    await page.getByLabel('out features').fill('11');
    await page.locator('.react-flow__edge-textwrapper', { hasText: '128' }).first().waitFor();
    await way('JSON');
    await until('the drawing in the JSON', async () => /"out_features": 11/.test(await text()));
  });

  test('test_web__a_network_is_drawn_with_its_shapes_and_trained_as_drawn', async () => {
    const { page } = main;
    await page.getByRole('radio', { name: 'Network', exact: true }).check({ force: true });
    await page.getByLabel('Start from…').selectOption('lenet');
    const wires = (text) => page.locator('.react-flow__edge-textwrapper', { hasText: text });
    await wires('16 × 10 × 10').first().waitFor();
    // A mistake stands at the layer that makes it; what comes before keeps its shapes.
    await page.getByRole('group', { name: 'conv2', exact: true }).click();
    await page.getByLabel('kernel size').fill('15');
    const faulty = page.locator('.layer-box.faulty');
    await faulty.getByText('larger than the padded input').waitFor();
    assert.match(await faulty.innerText(), /conv2/);
    await wires('6 × 14 × 14').first().waitFor();
    assert.deepEqual(await seriousFaults(page), [], 'network');
    await shoot(page, 'network-fault-desktop-light');
    await page.getByRole('button', { name: 'Undo' }).click();
    await faulty.waitFor({ state: 'detached' });
    await wires('16 × 10 × 10').first().waitFor();
    // A branch: a second convolution beside the first, joined by Concat.
    await page.getByLabel('Start from…').selectOption('mlp');
    await page.locator('.net-canvas[data-layers="6"]').waitFor();
    await page.getByRole('group', { name: 'fc2', exact: true }).click();
    await page.getByRole('button', { name: 'Concat', exact: true }).click();
    await page.getByLabel('Add an input…').selectOption({ label: 'fc1' });
    await wires('192').first().waitFor();
    await page.getByText('Ready to train').waitFor();
    // Copy and paste give a loose layer, which the platform refuses; undo takes it away.
    await page.getByRole('group', { name: 'fc1', exact: true }).click();
    await page.keyboard.press('Control+c');
    await page.keyboard.press('Control+v');
    await page.locator('.net-canvas[data-layers="8"]').waitFor();
    await page.getByText('Needs a correction').waitFor();
    await page.keyboard.press('Control+z');
    await page.locator('.net-canvas[data-layers="7"]').waitFor();
    await page.getByText('Ready to train').waitFor();
    await shoot(page, 'network-branch-desktop-light');
    await page.getByRole('radio', { name: 'Form', exact: true }).check({ force: true });
    await page.getByRole('form', { name: 'Form' }).getByLabel('Name').fill(drawnName);
    await page.getByRole('form', { name: 'Form' }).getByLabel('Epochs').fill('1');
    await page.getByText('Ready to train').waitFor();
    await page.getByRole('button', { name: 'Submit job' }).click();
    await page.waitForURL(/\/jobs\/[0-9a-f-]{36}$/);
    const job = await page.evaluate(
      async (path) => (await fetch(path)).json(),
      `/api/v1${new URL(page.url()).pathname}`,
    );
    assert.deepEqual(
      job.spec.model.layers.map((layer) => [layer.type, layer.inputs ?? null]),
      [
        ['Flatten', null],
        ['Linear', null],
        ['ReLU', null],
        ['Linear', null],
        ['Concat', ['fc2', 'fc1']],
        ['ReLU', null],
        ['Linear', null],
      ],
    );
    await page.locator('.job-title .badge.completed').waitFor({ timeout: trainingLimitMs });
    await page.goto('/submit');
    await page.getByRole('radio', { name: 'JSON', exact: true }).check({ force: true });
    await page.getByRole('textbox', { name: 'Job spec, JSON' }).waitFor();
  });

  test('test_web__submits_and_the_curve_moves_through_the_websocket', async () => {
    const { page } = main;
    const frames = [];
    page.on('websocket', (socket) =>
      socket.on('framereceived', ({ payload }) => frames.push(String(payload))),
    );
    await paste(page, JSON.stringify(smallSpec(curveName), null, 2));
    await page.getByText('Ready to train').waitFor();
    await page.getByRole('button', { name: 'Submit job' }).click();
    await page.waitForURL(/\/jobs\/[0-9a-f-]{36}$/);
    jobUrl = new URL(page.url()).pathname;
    await page.getByRole('heading', { name: curveName }).waitFor();
    const failed = page.locator('.banner.failed');
    await page.locator('.plot canvas').first().or(failed).first().waitFor({ timeout: trainingLimitMs });
    assert.equal(await failed.count(), 0, `the job failed: ${await failed.allInnerTexts()}`);
    trains = true;
    const first = await pointsShown(page);
    const firstInk = await until('the curve to be drawn', () => inkOfCurve(page));
    await until('the curve to grow', async () => (await pointsShown(page)) > first + 10, trainingLimitMs);
    await until('more of the curve to be drawn', async () => (await inkOfCurve(page)) > firstInk);
    assert.ok(
      frames.some((frame) => frame.includes('"metrics"')),
      'the points came through the WebSocket',
    );
  });

  test('test_web__goes_on_without_gap_after_a_dropped_connection', async () => {
    const { page } = main;
    assert.ok(trains, 'needs the job that trains');
    const progress = async () => {
      const cookie = storageState.cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
      const job = await (await fetch(`${login.url}/api/v1${jobUrl}`, { headers: { cookie } })).json();
      return { state: job.state, step: job.progress?.step ?? 0 };
    };
    relay.cut();
    await page.getByText('Reconnecting…').waitFor();
    const shown = await pointsShown(page);
    assert.ok(shown > 0, 'what was shown stays');
    const { state, step } = await progress();
    assert.equal(state, 'running', 'the job still runs, so that there is something to miss');
    await until('the job to go on unseen', async () => (await progress()).step > step);
    assert.equal(await pointsShown(page), shown, 'nothing arrives while the network is cut');
    relay.mend();
    await page.getByText('Reconnecting…').waitFor({ state: 'detached', timeout: 30_000 });
    await until('the points that were missed', async () => (await pointsShown(page)) > shown);
  });

  test('test_web__waits_for_completed_with_every_state_and_no_gap', {
    timeout: trainingLimitMs + 30_000,
  }, async () => {
    const { page } = main;
    assert.ok(trains, 'needs the job that trains');
    await page.locator('.job-title .badge.completed').waitFor({ timeout: trainingLimitMs });
    const history = await page.locator('.timeline strong').allInnerTexts();
    assert.deepEqual([history[0], history.at(-1)], ['Queued', 'Completed']);
    assert.ok(history.includes('Assigned') && history.includes('Running'), history.join());
    await until('the last step', async () =>
      (await page.locator('.wide-stat').innerText()).includes('100 %'),
    );
    await page.locator('.epochs-table tbody tr').first().waitFor();

    const id = jobUrl.split('/').pop();
    const { points } = await page.evaluate(
      async (path) => (await fetch(path)).json(),
      `/api/v1/jobs/${id}/metrics`,
    );
    const steps = new Set(points.map((point) => point.step));
    assert.equal(await pointsShown(page), steps.size, 'the page holds exactly the points that are kept');
    assert.equal(Math.max(...steps), totalSteps);
    firstStep = Math.min(...steps);
    await until('payments to settle', async () =>
      (await page.locator('.job-side').innerText()).includes('settled'),
    );
  });

  test('test_web__the_downloaded_model_has_the_promised_sha256', async () => {
    const { page } = main;
    assert.ok(trains, 'needs the job that trains');
    const promised = await page.locator('.artifacts [data-sha256]').first().getAttribute('data-sha256');
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.locator('.job-head').getByRole('link', { name: 'Download model' }).click(),
    ]);
    const body = readFileSync(await download.path());
    assert.match(download.suggestedFilename(), /\.safetensors$/);
    assert.equal(createHash('sha256').update(body).digest('hex'), promised);
    const headerLength = Number(body.readBigUInt64LE(0));
    const header = JSON.parse(body.subarray(8, 8 + headerLength).toString('utf8'));
    assert.deepEqual(header['fc1.weight'].shape, [128, 784]);
  });

  test('test_web__charts_read_by_keyboard_zoom_and_change_scale', async () => {
    const { page } = main;
    assert.ok(trains, 'needs the job that trains');
    const loss = page.getByRole('slider', { name: /^Loss by step/ });
    await loss.focus();
    await page.keyboard.press('Home');
    await until('the first step to be read', async () =>
      (await loss.getAttribute('aria-valuetext')).startsWith(`step ${firstStep},`),
    );
    await page.keyboard.press('End');
    await until('the last step to be read', async () =>
      (await loss.getAttribute('aria-valuetext')).startsWith(`step ${totalSteps.toLocaleString('en-GB')}`),
    );
    const box = await loss.boundingBox();
    await page.mouse.move(box.x + box.width * 0.4, box.y + 60);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.7, box.y + 60, { steps: 5 });
    await page.mouse.up();
    await page.getByRole('button', { name: 'Reset zoom' }).click();
    await page.getByRole('switch', { name: 'Log scale' }).check();
    await until('the curve on a log scale', () => inkOfCurve(page));
    await page.getByRole('switch', { name: 'Log scale' }).uncheck();
  });

  test('test_web__a_job_can_be_cancelled_and_its_row_follows', async () => {
    const { page } = main;
    assert.ok(trains, 'needs a stack that trains');
    const long = { ...smallSpec(cancelName), epochs: 500 };
    await page.goto('/submit');
    await page.getByRole('textbox', { name: 'Job spec, JSON' }).waitFor();
    await paste(page, JSON.stringify(long, null, 2));
    await page.getByText('Ready to train').waitFor();
    await page.getByRole('button', { name: 'Submit job' }).click();
    await page.waitForURL(/\/jobs\/[0-9a-f-]{36}$/);
    await page.locator('.job-title .badge.running').waitFor({ timeout: 60_000 });
    await page.locator('.machine').getByText('CPU').waitFor();
    await page.locator('.stat', { hasText: 'Cost' }).getByText('so far').waitFor();
    await page.locator('.side').getByRole('link', { name: 'Jobs' }).click();
    const row = page.locator('.jobs-table tr', { hasText: cancelName });
    await row.locator('.badge.running').waitFor();
    const part = () => row.locator('.meter').getAttribute('aria-valuenow');
    assert.ok((await part()) !== null);
    await row.getByRole('link').click();
    await page.getByRole('button', { name: 'Cancel job' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel job' }).click();
    await page.locator('.job-title .badge.cancelled').waitFor({ timeout: 60_000 });
    await page.goto('/jobs');
    await page.locator('.jobs-table tr', { hasText: cancelName }).locator('.badge.cancelled').waitFor();
  });

  test('test_web__the_node_tells_what_its_machine_does_and_its_reputation', async () => {
    const { page } = main;
    await page.goto('/nodes');
    await page.locator('.nodes-table .row-link').first().click();
    await page.waitForURL(/\/nodes\/[0-9a-f-]{36}$/);
    nodeUrl = new URL(page.url()).pathname;
    await page.locator('.machine').getByText('CPU').waitFor();
    await page.locator('.reputation-value').waitFor();
    await page.goto('/nodes');
    await page.getByRole('button', { name: 'Add a node' }).click();
    await page.getByRole('button', { name: 'Make a token' }).click();
    const command = await page.locator('.command pre').innerText();
    assert.match(command, /CYXWIZ_ENROL_TOKEN=cyxn_\S+ .*cyxwiz-worker$/s);
    assert.deepEqual(await seriousFaults(page), []);
    await page.getByRole('button', { name: 'Copy the command' }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), command);
    await page.keyboard.press('Escape');
  });

  test('test_web__jobs_are_found_sorted_and_kept_as_a_view', async () => {
    const { page } = main;
    await page.goto('/jobs');
    const row = (name) => page.locator('.jobs-table tbody tr', { hasText: name });
    await row(curveName).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('accuracy>50% epochs:8');
    await row(cancelName).waitFor({ state: 'detached' });
    await row(curveName).waitFor();
    await page.getByRole('button', { name: 'Accuracy' }).click();
    await page.locator('th[aria-sort="descending"]', { hasText: 'Accuracy' }).waitFor();
    await page.waitForURL(/q=accuracy.*sort=accuracy\.down/);
    await page.getByRole('button', { name: 'Save this view' }).click();
    await page.keyboard.type('good ones');
    await page.keyboard.press('Enter');
    await page.goto('/jobs');
    await row(cancelName).waitFor();
    await page.getByRole('button', { name: 'good ones', exact: true }).click();
    await row(cancelName).waitFor({ state: 'detached' });
    assert.deepEqual(await seriousFaults(page), []);
    await shoot(page, 'jobs-view-desktop-light');
    await page.getByRole('button', { name: 'Delete the view good ones' }).click();
    await page.getByRole('button', { name: 'good ones', exact: true }).waitFor({ state: 'detached' });
  });

  test('test_web__an_upload_goes_on_after_a_break_and_is_whole', async () => {
    const { page } = main;
    const name = `e2e-upload-${mark}`;
    const bytes = randomBytes(9 * 1024 * 1024 + 5);
    await page.goto('/datasets');
    await page.getByRole('heading', { name: 'Data sets', exact: true }).waitFor();
    const offsets = [];
    let broken = false;
    await page.route('**/uploads/*/content', async (route) => {
      offsets.push(Number(/bytes (\d+)-/.exec(route.request().headers()['content-range'])[1]));
      const breaks = offsets.length === 2 && !broken;
      broken ||= breaks;
      await (breaks ? route.abort('connectionreset') : route.continue());
    });
    await page
      .locator('input[type="file"]')
      .setInputFiles({ name: `${name}.bin`, mimeType: 'application/octet-stream', buffer: bytes });
    assert.equal(await page.getByLabel('Name of the data set').inputValue(), name);
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    const row = page.locator('.uploads-table tr', { hasText: name });
    await row.getByText('Whole').waitFor({ timeout: 60_000 });
    await page.unroute('**/uploads/*/content');
    assert.equal(offsets[1], offsets[2], 'the part that broke is sent again');
    assert.ok(offsets.length >= 4, 'it goes in parts');
    const promised = createHash('sha256').update(bytes).digest('hex');
    await row.locator(`[title="${promised}"]`).waitFor();
    assert.deepEqual(await seriousFaults(page), []);
    await page.getByRole('button', { name: `Delete ${name}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
    await row.waitFor({ state: 'detached' });
  });

  test('test_web__the_palette_and_the_keys_go_everywhere', async () => {
    const { page } = main;
    await page.goto('/wallet');
    await page.getByRole('heading', { name: 'Wallet', exact: true }).waitFor();
    await page.keyboard.press('Control+k');
    await page.getByRole('option', { name: new RegExp(`Job ${curveName}`) }).waitFor();
    await shoot(page, 'palette-desktop-light');
    assert.deepEqual(await seriousFaults(page), []);
    await page.keyboard.type(curveName);
    await page.locator('.palette li[aria-selected="true"]', { hasText: curveName }).waitFor();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: curveName }).waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
    assert.deepEqual(await seriousFaults(page), []);
    await shoot(page, 'shortcuts-desktop-light');
    await page.keyboard.press('Escape');
    await page.keyboard.press('g');
    await page.keyboard.press('n');
    await page.getByRole('heading', { name: 'Nodes', exact: true }).waitFor();
  });

  test('test_web__chosen_jobs_lie_in_one_chart_beside_their_settings', async () => {
    const { page } = main;
    await page.goto('/jobs');
    for (const name of [curveName, cancelName])
      await page.getByRole('checkbox', { name: `Choose ${name}` }).check();
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.waitForURL(/\/compare\?jobs=/);
    compareUrl = page.url().slice(new URL(page.url()).origin.length);
    await page.locator('.compare-plot canvas').waitFor();
    await page.locator('.compare-table').getByText(curveName).waitFor();
    await page.getByText('epochs').first().waitFor();
    const plot = page.locator('.compare-plot');
    await plot.focus();
    await page.keyboard.press('Home');
    await until('the values to be read', async () =>
      (await plot.getAttribute('aria-valuetext')).includes(`${curveName} `),
    );
    await page.getByRole('radio', { name: 'Test acc.' }).check({ force: true });
    await page.getByRole('radio', { name: 'Time' }).check({ force: true });
    await page.locator('.compare-plot canvas').waitFor();
    const grip = await page.locator('.axis-grip').first().boundingBox();
    await page.mouse.move(grip.x + 10, grip.y + grip.height * 0.4);
    await page.mouse.down();
    await page.mouse.move(grip.x + 10, grip.y + grip.height + 4, { steps: 4 });
    await page.mouse.up();
    await page.locator('.compare-table tr.dimmed').waitFor();
    assert.equal(await page.locator('.compare-table tr.dimmed').count(), 1);
    await page.getByRole('button', { name: /show all/ }).click();
    await page.locator('.compare-table tr.dimmed').waitFor({ state: 'detached' });
  });

  test('test_web__a_job_of_nobody_and_a_page_of_nobody_are_told_kindly', async () => {
    const { page } = main;
    await page.goto('/jobs/01990000-0000-7000-8000-000000000000');
    await page.getByRole('heading', { name: 'There is no such job' }).first().waitFor();
    await page.goto('/nowhere');
    await page.getByRole('heading', { name: 'There is no such page' }).first().waitFor();
  });

  test('test_web__nothing_broke_the_policy_or_threw', () => {
    assert.deepEqual(main.faults, []);
  });

  for (const size of Object.keys(sizes)) {
    for (const theme of ['light', 'dark']) {
      test(`test_web__every_page_is_accessible_and_photographed__${size}_${theme}`, {
        timeout: 120_000,
      }, async () => {
        await tour(size, theme);
      });
    }
  }

  /** Every page in one theme and size; each is looked at by axe and photographed. */
  async function tour(size, theme) {
    const out = await openPage(browser, { size, theme });
    await out.page.goto('/');
    await out.page.locator('#email').waitFor();
    assert.deepEqual(await seriousFaults(out.page), [], 'sign-in');
    await shoot(out.page, `sign-in-${size}-${theme}`);
    assert.deepEqual(out.faults, []);
    await out.context.close();

    const cookies = {
      ...storageState,
      cookies: storageState.cookies.map((each) => ({ ...each, domain: '127.0.0.1' })),
    };
    const { page, faults, context } = await openPage(browser, { size, theme, storageState: cookies });
    const stops = [
      ['jobs', '/jobs', '.jobs-table'],
      ['job', jobUrl, '.plot canvas'],
      ['submit', '/submit?example=fashion-cnn', '.preview'],
      ['datasets', '/datasets', '.table'],
      ['models', '/models', '.table'],
      ['compare', compareUrl, '.compare-plot canvas'],
      ['nodes', '/nodes', '.nodes-table'],
      ['node', nodeUrl, '.machine'],
      ['wallet', '/wallet', '.table'],
    ];
    for (const [name, path, shown] of stops) {
      await page.goto(path);
      await page.locator(shown).first().waitFor();
      assert.deepEqual(await seriousFaults(page), [], name);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name} is ${wide} px wider than the ${size} window`);
      await shoot(page, `${name}-${size}-${theme}`);
      await shootWhole(page, `${name}-${size}-${theme}-whole`);
    }
    await page.goto('/submit?example=fashion-resnet');
    await page.locator('.preview').waitFor();
    await page.getByRole('radio', { name: 'Network', exact: true }).check({ force: true });
    await page.locator('.react-flow__edge-textwrapper', { hasText: '16 × 28 × 28' }).first().waitFor();
    assert.deepEqual(await seriousFaults(page), [], 'network');
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `the network page is ${over} px wider than the ${size} window`);
    await shootWhole(page, `network-${size}-${theme}-whole`);
    await page.getByRole('radio', { name: 'Form', exact: true }).check({ force: true });
    await page.locator('.spec-form').waitFor();
    assert.deepEqual(await seriousFaults(page), [], 'form');
    await shootWhole(page, `form-${size}-${theme}-whole`);
    await page.getByRole('button', { name: 'Account and theme' }).filter({ visible: true }).click();
    const other = theme === 'light' ? 'Dark' : 'Light';
    await page.getByRole('radio', { name: other }).check({ force: true });
    await shoot(page, `account-menu-${size}-${other.toLowerCase()}`);
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), other.toLowerCase());
    assert.deepEqual(faults, []);
    await context.close();
  }

  test('test_web__signing_out_ends_the_session', async () => {
    const { page } = main;
    await page.goto('/jobs');
    await page.getByRole('button', { name: 'Account and theme' }).filter({ visible: true }).click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.goto('/wallet');
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  });
});
