// A person in a real browser: Chromium, which is driven from here. Prints what was seen as JSON.
import { existsSync } from 'node:fs';
import puppeteer from 'puppeteer-core';

const [shop, evil, profile] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: process.env.PATH.split(':').map((folder) => `${folder}/chromium`).find(existsSync),
  headless: true,
  userDataDir: profile,
  acceptInsecureCerts: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--host-resolver-rules=MAP *.test 127.0.0.1'],
});
const seen = {};
const text = (page) => page.evaluate(() => document.body.innerText);

// Fills in one form of the provider's, and goes where that leads.
async function submit(page, who) {
  await page.bringToFront();
  if (who && (await page.$('input[name=login]'))) {
    await page.type('input[name=login]', who);
    await page.type('input[name=password]', 'any');
  }
  await Promise.all([page.waitForNavigation(), page.click('button[type=submit]')]);
}

async function signIn(page, who) {
  for (let at = 0; at < 4 && !page.url().startsWith(shop); at++) await submit(page, who);
}

async function cookies(page) {
  const client = await page.createCDPSession();
  const all = (await client.send('Storage.getCookies')).cookies;
  return all.filter((one) => one.domain.endsWith('shop.test'))
    .map(({ name, domain, path, secure, httpOnly, sameSite, session }) => ({ name, domain, path, secure, httpOnly, sameSite, session }));
}

try {
  const page = await browser.newPage();
  await page.goto(`${shop}/start?a=b`);
  seen.asksAt = page.url();
  seen.during = await cookies(page);
  await signIn(page, 'ann');
  seen.back = page.url();
  seen.page = await text(page);
  seen.after = await cookies(page);
  seen.script = await page.evaluate(() => document.cookie);
  seen.own = await page.evaluate(async () => (await (await fetch('/own', { method: 'POST', body: 'x' })).text()));
  await page.reload();
  seen.again = await text(page);

  // Another site: its forms, its scripts and its pictures bring nobody along; its links do.
  const other = await browser.newPage();
  await other.goto(`${evil}/page`);
  await other.evaluate(async (shop) => {
    await fetch(`${shop}/by-script`, { credentials: 'include', mode: 'no-cors' }).catch(() => {});
    await fetch(`${shop}/by-script-post`, { method: 'POST', body: 'x', credentials: 'include', mode: 'no-cors' }).catch(() => {});
    await new Promise((resolve) => {
      const picture = new Image();
      picture.onload = picture.onerror = resolve;
      picture.src = `${shop}/by-picture`;
    });
  }, shop);
  await Promise.all([other.waitForNavigation(), other.evaluate((shop) => {
    const form = document.createElement('form');
    form.method = 'post';
    form.action = `${shop}/by-form`;
    document.body.append(form);
    form.submit();
  }, shop)]);
  seen.form = { url: other.url(), text: await text(other) };
  await other.goto(`${evil}/page`);
  await Promise.all([other.waitForNavigation(), other.evaluate((shop) => (location.href = `${shop}/by-link`), shop)]);
  seen.link = await text(other);
  await other.goto(`${evil}/page`);
  await Promise.all([other.waitForNavigation(), other.evaluate((shop) => (location.href = `${shop}/oidc/logout`), shop)]);
  seen.logoutByLink = await text(other);

  // Two tabs at once, of a person who is new.
  const fresh = await browser.createBrowserContext();
  const [one, two] = [await fresh.newPage(), await fresh.newPage()];
  await one.goto(`${shop}/one`);
  await two.goto(`${shop}/two`);
  await signIn(two, 'bob');
  await signIn(one, 'bob');
  seen.tabs = [one.url(), await text(one), two.url(), await text(two)];

  // And out again.
  await page.goto(`${shop}/oidc/logout`);
  await submit(page);
  seen.out = { url: page.url(), text: await text(page) };
  seen.left = await cookies(page);
  await page.goto(`${shop}/start`);
  seen.asksAgain = page.url();
  await page.goto(seen.out.url);
} catch (error) {
  seen.error = `${error.stack}`;
}
console.log(JSON.stringify(seen));
await browser.close();
