/** What both pages of the node make their views of: elements by their ids, and icons. */

/** The namespace of SVG elements. */
export const SVG = "http://www.w3.org/2000/svg";

/** The waves of a Wi-Fi signal, from the weakest. */
export const WAVES = ["M12 19h.01", "M8.5 15.5a5 5 0 0 1 7 0", "M5 12a10 10 0 0 1 14 0", "M1.5 8.5a15 15 0 0 1 21 0"];
/** A padlock. */
export const LOCK = ["M6 11h12v9H6z", "M8.5 11V8a3.5 3.5 0 0 1 7 0v3"];

/** The element with an id, which the page has. */
export function element<Kind extends Element | null = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as unknown as Kind;
}

/** The input of a field. */
export function input(id: string): HTMLInputElement {
  return element<HTMLInputElement>(id);
}

/** Draws an icon by its paths, of which the first `strong` ones are not faint. It is for the eye only. */
export function icon(paths: readonly string[], strong = paths.length): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 24 24", width: "24", height: "24", "aria-hidden": "true" })) {
    svg.setAttribute(name, value);
  }
  for (const [index, path] of paths.entries()) {
    const part = document.createElementNS(SVG, "path");
    part.setAttribute("d", path);
    part.setAttribute("class", index < strong ? "" : "weak");
    svg.append(part);
  }
  return svg;
}
