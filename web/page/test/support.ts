/** A node in memory behind the page's requests, for what no honest node does. */

import type { Page, Request } from "playwright-core";

import { concat } from "../../client/src/bytes.js";
import { ENDPOINTS } from "../../client/src/endpoint.js";
import type { Readable, Writable } from "../../client/src/endpoint.js";
import type { ScriptedNode } from "../../client/test/support/node.js";

const HEADERS = { "content-type": "application/x-protobuf", "jarvis-session": "0".repeat(32) };
/** The key of a list's elements: field 1, length-delimited. */
const ELEMENT = 0x0a;

/** Answers the page's requests by a scripted node, which can be another one for each request. */
export async function answerBy(page: Page, node: ScriptedNode | (() => ScriptedNode)): Promise<void> {
  await page.route("**/api/v1/**", async (route) => {
    const body = await answer(typeof node === "function" ? node() : node, route.request());
    await route.fulfill({ status: 200, headers: HEADERS, body: Buffer.from(body) });
  });
}

async function answer(node: ScriptedNode, request: Request): Promise<Uint8Array> {
  const path = new URL(request.url()).pathname;
  const endpoint = Object.entries(ENDPOINTS).find(([, row]) => row.path === path)?.[0];
  if (request.method() === "GET" && endpoint !== undefined) {
    return node.read(endpoint as Readable);
  }
  if (request.method() === "POST") {
    await node.write(endpoint as Writable, request.postDataBuffer() ?? new Uint8Array());
  }
  return list(await queued(node));
}

async function queued(node: ScriptedNode): Promise<Uint8Array[]> {
  const messages = [];
  for (;;) {
    const message = await node.receive(AbortSignal.abort());
    if (message === undefined) {
      return messages;
    }
    messages.push(message);
  }
}

/** The messages may be no messages, so they are not parsed. */
function list(messages: readonly Uint8Array[]): Uint8Array {
  return concat(...messages.flatMap((message) => [Uint8Array.of(ELEMENT, ...length(message.length)), message]));
}

function length(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...length(value >>> 7)];
}
