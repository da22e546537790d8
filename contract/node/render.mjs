// Prints a contract, read as JSON on standard input, as one HTML page that needs no network: the
// official renderer and its styles are in it.
import { readFileSync } from "node:fs";

const part = (name) => readFileSync(new URL(`node_modules/@asyncapi/react-component/${name}`, import.meta.url), "utf8");
// Nothing in it may end the element that it stands in.
const within = (text) => text.replaceAll("</script", "<\\/script");

const contract = JSON.parse(readFileSync(0, "utf8"));
const config = {
  show: { sidebar: true, errors: true },
  expand: { messageExamples: true },
  sidebar: { showOperations: "byDefault" },
};

process.stdout.write(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${contract.info.title} ${contract.info.version}</title>
<style>${part("styles/default.min.css")}</style>
<body>
<div id="contract"></div>
<script>${within(part("browser/standalone/index.js"))}</script>
<script>
AsyncApiStandalone.render(
  { schema: ${within(JSON.stringify(contract))}, config: ${JSON.stringify(config)} },
  document.getElementById("contract"),
);
</script>
`);
