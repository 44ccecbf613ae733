// The files of the page in `docs-page` as text, which the bundlers and runtimes read by `with { type: "text" }`.
declare module "*.js" {
  const text: string;
  export default text;
}

declare module "*.css" {
  const text: string;
  export default text;
}

declare module "*.htm" {
  const text: string;
  export default text;
}
