/** Any web server that has the built site. */

import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

const FOLDER = "dist/site";
const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
  png: "image/png",
  webmanifest: "application/manifest+json",
};

/** Serves the site in a folder, as many hosts do. */
export class SiteServer {
  /** Whether it answers. */
  isOnline = true;
  /** Contents that replace those of the build, by name. */
  readonly changed = new Map<string, string>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<SiteServer> {
    const server = createServer();
    const site = new SiteServer(server);
    server.on("request", (request, response) => {
      const name = new URL(request.url ?? "", "http://localhost").pathname.replace(/^\/setup\/$/, "/setup/index.html").slice(7);
      const content = site.content(name);
      if (!site.isOnline) {
        request.socket.destroy();
      } else if (content === undefined) {
        response.writeHead(404).end();
      } else {
        response
          .writeHead(200, { "content-type": TYPES[name.split(".").pop() ?? ""], "cache-control": "max-age=3600" })
          .end(content);
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
    return site;
  }

  /** The site's address. `localhost` counts as secure, like https. */
  get url(): string {
    return `http://localhost:${(this.#server.address() as AddressInfo).port}/setup/`;
  }

  content(name: string): string | Buffer | undefined {
    const path = join(FOLDER, name);
    return this.changed.get(name) ?? (/^[\w.-]+$/.test(name) && existsSync(path) ? readFileSync(path) : undefined);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
