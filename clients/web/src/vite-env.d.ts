/// <reference types="svelte" />
/// <reference types="vite/client" />
declare module "virtual:cookbook" {
  const entries: { question: string; statement: string }[];
  export default entries;
}
