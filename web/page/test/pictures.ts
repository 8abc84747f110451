/** Pictures of the views, for eyes: `PICTURES=FOLDER npm test -- "" accessible` writes one of each. */

import type { Page } from "playwright-core";

const FOLDER = process.env["PICTURES"];
/** The size of a small phone, pixels of CSS. */
const PHONE = { width: 360, height: 740 };

/** Takes a picture of a view, as a phone shows it, if somebody wants one. */
export async function picture(page: Page, view: string): Promise<void> {
  const size = page.viewportSize();
  if (FOLDER === undefined || size === null) {
    return;
  }
  await page.setViewportSize(PHONE);
  const look = await page.evaluate(() => {
    const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    return `${scheme}-${document.documentElement.lang}`;
  });
  await page.screenshot({ path: `${FOLDER}/${view.replaceAll(" ", "-")}-${look}.png`, fullPage: true });
  await page.setViewportSize(size);
}
