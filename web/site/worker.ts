/** The service worker: one complete copy of the site, from one build. */

/** The site's files relative to it, with the hashes of their contents. The build writes it. */
declare const FILES: Readonly<Record<string, string>>;
/** The hash of all of them. The build writes it. */
declare const VERSION: string;

/** The part of the global scope that is used; its library cannot be loaded beside that of pages. */
interface Scope {
  readonly registration: ServiceWorkerRegistration;
  addEventListener(type: "install" | "activate", listener: (event: { waitUntil(work: Promise<unknown>): void }) => void): void;
  addEventListener(
    type: "fetch",
    listener: (event: { readonly request: Request; respondWith(response: Promise<Response>): void }) => void,
  ): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  skipWaiting(): Promise<void>;
}

const scope = self as unknown as Scope;
/** Several sites can have one origin, and share its caches. */
const PREFIX = `jarvis-site ${scope.registration.scope} `;
const CACHE = PREFIX + VERSION;
const DOCUMENT = "./";

// Files of two versions are never mixed: the hashes are those of one build, and a file that differs ends the installation.
async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(Object.entries(FILES).map(([path, integrity]) => new Request(path, { cache: "reload", integrity })));
}

async function removeOthers(): Promise<void> {
  const others = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(others.map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const found = await cache.match(request.mode === "navigate" ? DOCUMENT : request);
  return found ?? fetch(request);
}

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(removeOthers()));
scope.addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
scope.addEventListener("message", ({ data }) => void (data === "activate" && scope.skipWaiting()));
