// What the browser tests share: the browser, a way to cut the network, accessibility checks, screenshots.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const fromWeb = createRequire(join(root, 'web', 'package.json'));
const { chromium } = fromWeb('playwright-core');
const axeSource = readFileSync(fromWeb.resolve('axe-core/axe.min.js'), 'utf8');

export const screenshots = join(root, 'artifacts', 'screenshots');

export const sizes = {
  desktop: { width: 1440, height: 900 },
  phone: { width: 390, height: 844 },
};

function wanted(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run tests/e2e/run, which starts a stack and sets it`);
  return value;
}

export const login = {
  url: wanted('CYXWIZ_E2E_URL').replace(/\/$/, ''),
  email: wanted('CYXWIZ_E2E_EMAIL'),
  password: wanted('CYXWIZ_E2E_PASSWORD'),
};

export function launch() {
  return chromium.launch({
    executablePath: process.env.CYXWIZ_E2E_CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A plain TCP relay to the gateway, which a test can cut as a bad network would. */
export async function relayTo(url) {
  const target = new URL(url);
  const sockets = new Set();
  let isCut = false;
  const server = net.createServer((near) => {
    if (isCut) {
      near.destroy();
      return;
    }
    const far = net.connect(Number(target.port), target.hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(one);
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.on('error', () => other.destroy());
      one.pipe(other);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut() {
      isCut = true;
      for (const socket of sockets) socket.destroy();
    },
    mend() {
      isCut = false;
    },
    close() {
      this.cut();
      server.close();
    },
  };
}

/** A page that remembers what must not happen: script errors and breaches of the Content-Security-Policy. */
export async function openPage(
  browser,
  { size = 'desktop', theme = 'light', baseURL = login.url, storageState } = {},
) {
  const context = await browser.newContext({
    viewport: sizes[size],
    colorScheme: theme,
    baseURL,
    deviceScaleFactor: size === 'phone' ? 2 : 1,
    hasTouch: size === 'phone',
    reducedMotion: 'reduce',
    acceptDownloads: true,
    ...(storageState ? { storageState } : {}),
  });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(`script error: ${error.message}`));
  await page.exposeFunction('reportBreach', (text) => faults.push(`CSP: ${text}`));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      globalThis.reportBreach(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
    });
  });
  page.setDefaultTimeout(20_000);
  return { context, page, faults };
}

export async function signIn(page, password = login.password) {
  await page.locator('#email').fill(login.email);
  await page.locator('#password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** What axe finds serious or critical on the page as it is, as sentences. */
export async function seriousFaults(page) {
  await page.evaluate(axeSource);
  const results = await page.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    }),
  );
  return results.violations
    .filter((violation) => violation.impact === 'serious' || violation.impact === 'critical')
    .map((violation) => {
      const places = violation.nodes.map(
        (node) => `${node.target.join(' ')} (${node.any[0]?.message ?? ''})`,
      );
      return `${violation.id}: ${places.join('; ')}`;
    });
}

/** `caret: initial` keeps Playwright from adding a style element, which the page's policy forbids. */
export async function shoot(page, name) {
  mkdirSync(screenshots, { recursive: true });
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: join(screenshots, `${name}.png`), caret: 'initial' });
}

/** The whole page: the window is made as tall as it, so that what sticks to an edge does not cover the middle. */
export async function shootWhole(page, name) {
  const size = page.viewportSize();
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width: size.width, height: Math.max(size.height, Math.min(height, 6000)) });
  await shoot(page, name);
  await page.setViewportSize(size);
}
