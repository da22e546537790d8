// Print how many bytes the module has on the wire: minified and gzipped.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

import { transformSync } from "esbuild";

const source = readFileSync(new URL("../notifications-client.js", import.meta.url), "utf8");
console.log(gzipSync(transformSync(source, { minify: true }).code, { level: 9 }).length);
