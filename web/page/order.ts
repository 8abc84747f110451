/** What a link or a QR code can carry in the fragment, which no browser sends to a server. */

/** The values of a fragment such as `#code=042137&center=https://…&node=…&token=…&household=…&room=…`; all are optional. */
export interface Order {
  /** Six digits, or the text of the label's QR code. */
  readonly code: string;
  readonly commandCenterUrl: string;
  readonly nodeId: string;
  readonly provisioningToken: string;
  readonly householdId: string;
  readonly room: string;
}

/** Takes the order out of the address, so that it stays in no history. */
export function takeOrder(place: Location, past: History): Order {
  const values = new URLSearchParams(place.hash.slice(1));
  if (place.hash !== "") {
    past.replaceState(null, "", place.pathname + place.search);
  }
  const value = (name: string) => values.get(name) ?? "";
  return {
    code: value("code"),
    commandCenterUrl: value("center"),
    nodeId: value("node"),
    provisioningToken: value("token"),
    householdId: value("household"),
    room: value("room"),
  };
}
