/** The endpoints: one table for every transport. */

/** An endpoint of the node. */
export type Endpoint = "info" | "session" | "scan" | "k2" | "credentials" | "status";

/** An endpoint whose value can be read in clear. */
export type Readable = "info" | "status";

/** An endpoint that takes messages. */
export type Writable = Exclude<Endpoint, "info">;

interface Row {
  /** The number inside records. */
  readonly number: number;
  /** The GATT characteristic. */
  readonly uuid: string;
  /** The path over HTTP. */
  readonly path: string;
}

/** The GATT service of a node. */
export const SERVICE = uuid(0);

/** The endpoints by name. */
export const ENDPOINTS: Readonly<Record<Endpoint, Row>> = {
  info: { number: 0, uuid: uuid(1), path: "/api/v1/info" },
  session: { number: 1, uuid: uuid(2), path: "/api/v1/session" },
  scan: { number: 2, uuid: uuid(3), path: "/api/v1/scan-networks" },
  k2: { number: 3, uuid: uuid(4), path: "/api/v1/provision/k2" },
  credentials: { number: 4, uuid: uuid(5), path: "/api/v1/provision" },
  status: { number: 5, uuid: uuid(6), path: "/api/v1/status" },
};

function uuid(number: number): string {
  return `6a617276-${number.toString(16).padStart(4, "0")}-4b32-9d5e-70c04e7f1a00`;
}
