/** The form for enterprise networks. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EapMethod, Security } from "../../client/src/generated/decode/jarvis/provisioning/v1/provisioning.js";
import { ScriptedNode } from "../../client/test/support/node.js";
import { LIGHT, PASSWORD, center, focused, link, pair, scene, skip, tabTo } from "./browser.js";
import { answerBy } from "./support.js";

/** The simulated enterprise network, and the one user that it knows. */
const [OFFICE, USER] = ["Office", "anna@office.example"];

test("an enterprise network takes a login, whose mistakes are named", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(link(node, await center.order(), node.code));
    await page.click(`#list button:has-text("${OFFICE}")`);
    await page.waitForSelector("#identity");
    assert.deepEqual([await focused(page), await page.isVisible("#passphrase")], ["identity", false]);
    await page.click("#details .main");
    await page.waitForSelector("#identity-error:has-text('A user name has 1 to 253 bytes')");
    const wrong = await page.$$eval("[aria-invalid]", (fields) => fields.map(({ id }) => id));
    assert.deepEqual([wrong, await focused(page)], [["identity", "password", "domain"], "identity"]);
    await page.selectOption("#language", "de");
    await page.waitForSelector("#domain-error:has-text('Der Server des Netzwerks lässt sich nicht prüfen.')");
    await page.selectOption("#language", "en");
    await page.fill("#identity", USER);
    await page.fill("#password", "not the password");
    await page.fill("#domain", "radius.office.example");
    await page.click("#details .main");
    await page.waitForSelector("#password-error:has-text('The network refused the user name or the password.')");
    assert.deepEqual([await focused(page), await page.inputValue("#identity")], ["password", USER]);
    await page.click("#by-password button");
    assert.equal(await page.getAttribute("#password", "type"), "text");
    await page.reload();
    await page.waitForSelector(
      "#notice:has-text('The last setup did not succeed: The network refused the user name or the password.')",
    );
    await page.goto("about:blank");
    await page.goto(link(node, await center.order(), node.code));
    await page.click(`#list button:has-text("${OFFICE}")`);
    await page.fill("#identity", USER);
    await page.fill("#password", PASSWORD);
    await page.fill("#domain", "radius.office.example");
    await page.click("#details .main");
    await page.waitForSelector("#done:has-text('It is online in Office.')");
    assert.equal(await page.inputValue("#password"), "", "the password is erased");
  }),
);

test("a login has the parts that the owner has chosen, and no others", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const office = new ScriptedNode();
    await answerBy(page, office);
    await page.goto(link(node, await center.order()));
    await pair(page, office.code);
    await page.click("#other");
    await page.fill("#ssid", "Hidden office");
    await page.selectOption("#security", "ENTERPRISE");
    await page.fill("#identity", USER);
    await page.fill("#password", "what is not sent with a certificate");
    await page.selectOption("#method", "TLS");
    const pkcs12 = Buffer.from([0x30, 5, 2, 1, 3, 0x30, 0]);
    const authority = Buffer.from([0x30, 7, 0x30, 0, 0x30, 0, 3, 1, 0]);
    await page.setInputFiles("#certificate", { name: "anna.txt", mimeType: "text/plain", buffer: Buffer.from("no certificate") });
    await page.fill("#certificatePassword", "opens it");
    await page.fill("#anonymousIdentity", "anonymous@office.example");
    await page.fill("#domain", "radius.office.example");
    await page.selectOption("#verification", "file");
    await page.setInputFiles("#authority", {
      name: "key.pem",
      mimeType: "text/plain",
      buffer: Buffer.from("-----BEGIN PRIVATE KEY-----"),
    });
    await page.click("#details .main");
    await page.waitForSelector("#certificate-error:has-text('PKCS#12')");
    await page.waitForSelector("#authority-error:has-text('PEM or DER')");
    await page.setInputFiles("#certificate", { name: "anna.p12", mimeType: "application/x-pkcs12", buffer: pkcs12 });
    await page.setInputFiles("#authority", { name: "ca.der", mimeType: "application/x-x509-ca-cert", buffer: authority });
    await page.click("#details .main");
    await page.waitForSelector("#done:not([hidden])");
    const sent = office.stored.credentials[0];
    assert.deepEqual([sent?.passphrase, sent?.hidden], ["", true]);
    assert.deepEqual(sent?.enterprise, {
      method: EapMethod.TLS,
      identity: USER,
      anonymousIdentity: "anonymous@office.example",
      password: "",
      certificate: Uint8Array.from(pkcs12),
      certificatePassword: "opens it",
      authority: Uint8Array.from(authority),
      domain: "radius.office.example",
      acceptUnverifiedServer: false,
    });
  }),
);

test("a network's server stays unverified only if the owner chooses that by name", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const office = new ScriptedNode();
    office.security = Security.ENTERPRISE;
    await answerBy(page, office);
    await page.goto(link(node, await center.order()));
    await pair(page, office.code);
    await page.click('#list button:has-text("Lighthouse")');
    await page.fill("#identity", USER);
    await page.fill("#password", PASSWORD);
    await page.click("#details .main");
    await page.waitForSelector("#domain-error:has-text('cannot be verified')");
    assert.equal(await page.isVisible("#unverified"), false);
    await page.selectOption("#verification", { label: "Do not check (unsafe)" });
    await page.waitForSelector("#unverified:has-text('Anyone nearby can then pretend to be this network')");
    await page.click("#details .main");
    await page.waitForSelector("#done:not([hidden])");
    const { domain, authority, acceptUnverifiedServer } = office.stored.credentials[0]?.enterprise ?? {};
    assert.deepEqual([domain, authority?.length, acceptUnverifiedServer], ["", 0, true]);
  }),
);

test("the login works with the keyboard, from the list to the outcome", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const office = new ScriptedNode();
    office.security = Security.ENTERPRISE;
    await answerBy(page, office);
    await page.goto(link(node, await center.order()));
    await tabTo(page, "#digits");
    await page.keyboard.type(office.code);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#list button");
    await tabTo(page, "#list button");
    await page.keyboard.press("Enter");
    assert.equal(await focused(page), "identity");
    // Each field is reached in the order in which it stands, and takes what is typed.
    await page.keyboard.type(USER);
    await tabTo(page, "#password");
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Space");
    assert.equal(await page.getAttribute("#password", "type"), "text", "the button beside the password shows it");
    await tabTo(page, "#anonymousIdentity");
    await page.keyboard.type("anonymous@office.example");
    await tabTo(page, "#verification");
    await page.keyboard.press("End");
    await page.waitForSelector("#unverified:not([hidden])");
    await page.keyboard.press("Home");
    await tabTo(page, "#domain");
    await page.keyboard.type("radius office example");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#domain-error:not([hidden])");
    assert.equal(await focused(page), "domain");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("radius.office.example");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#done:not([hidden])");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Your device is ready");
    const sent = office.stored.credentials[0]?.enterprise;
    assert.deepEqual(
      [sent?.method, sent?.identity, sent?.password, sent?.anonymousIdentity, sent?.domain, sent?.acceptUnverifiedServer],
      [EapMethod.PEAP_MSCHAPV2, USER, PASSWORD, "anonymous@office.example", "radius.office.example", false],
    );
  }),
);

test("a certificate is chosen with the keyboard, and its refusal is at its field", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const certificate = {
      name: "anna.p12",
      mimeType: "application/x-pkcs12",
      buffer: Buffer.from([0x30, 5, 2, 1, 3, 0x30, 0]),
    };
    page.on("filechooser", (chooser) => void chooser.setFiles(certificate));
    await page.goto(link(node, await center.order(), node.code));
    await page.click(`#list button:has-text("${OFFICE}")`);
    await tabTo(page, "#method");
    await page.keyboard.press("End");
    await page.waitForSelector("#by-certificate:not([hidden])");
    assert.equal(await page.isVisible("#password"), false);
    await tabTo(page, "#certificate");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector<HTMLInputElement>("#certificate")?.files?.length === 1);
    await tabTo(page, "#certificatePassword");
    await page.keyboard.type("opens it");
    await tabTo(page, "#domain");
    await page.keyboard.type("radius.office.example");
    await tabTo(page, "#details .main");
    await page.keyboard.press("Space");
    await page.waitForSelector("#identity-error:not([hidden])");
    await page.keyboard.type(USER);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#certificate-error:not([hidden])");
    assert.equal(await focused(page), "certificate");
    assert.equal(await page.inputValue("#certificatePassword"), "opens it", "what was typed is kept");
  }),
);
