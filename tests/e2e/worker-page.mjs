// The worker's local page as it is now, in both themes and sizes: looked at by axe, photographed, walked through by the keyboard.
//   node tests/e2e/worker-page.mjs URL NAME        prints a line for each fault; page_test.py runs it
import { argv, exit } from 'node:process';

const [url, name] = argv.slice(2);
// The support asks for a dashboard's login, which the page has not.
Object.assign(process.env, { CYXWIZ_E2E_URL: url, CYXWIZ_E2E_EMAIL: '-', CYXWIZ_E2E_PASSWORD: '-' });
const { launch, openPage, seriousFaults, shootWhole, sizes } = await import('./support.mjs');

/** What Tab comes to, in order, until it leaves the page; each must be shown and have a name. */
async function tabStops(page) {
  const stops = [];
  for (let i = 0; i < 50; i++) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => {
      const at = document.activeElement;
      if (!at || at === document.body) return null;
      const box = at.getBoundingClientRect();
      const label = at.labels?.[0]?.textContent ?? at.getAttribute('aria-label') ?? at.textContent;
      return { id: at.id || at.className, name: label.trim(), shown: box.width > 0 && box.height > 0 };
    });
    if (!stop || stops.some((each) => each.id === stop.id)) break;
    stops.push(stop);
  }
  return stops;
}

const browser = await launch();
const found = [];
try {
  for (const size of Object.keys(sizes)) {
    for (const theme of ['light', 'dark']) {
      const { page, faults, context } = await openPage(browser, { size, theme, baseURL: url });
      const where = `${name}, ${size}, ${theme}`;
      await page.goto('/');
      await page.locator('#state:not(:text-is("…"))').waitFor();
      await page.locator('#machine *').first().waitFor();
      for (const fault of await seriousFaults(page)) found.push(`${where}: ${fault}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) found.push(`${where}: ${wide} pixels wider than the window`);
      const stops = await tabStops(page);
      if (stops[0]?.id !== 'skip') found.push(`${where}: Tab comes to ${stops[0]?.id} before the skip link`);
      for (const stop of stops)
        if (!stop.name || !stop.shown) found.push(`${where}: #${stop.id} has no name, or is not shown`);
      await shootWhole(page, `worker-${name}-${size}-${theme}`);
      for (const fault of faults) found.push(`${where}: ${fault}`);
      await context.close();
    }
  }
} finally {
  await browser.close();
}
for (const line of found) console.log(line);
exit(found.length ? 1 : 0);
