/** A part of a document, as text. */
declare module "*.html" {
  const text: string;
  export default text;
}
