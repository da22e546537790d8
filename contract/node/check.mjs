// Reads a contract on standard input with the official parser; prints what that finds, and fails if
// it is anything.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

// The contract is in AsyncAPI 3.0, which more tools read than 3.1.
const INTENDED = ["asyncapi-latest-version"];

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const found = diagnostics.filter(({ code }) => !INTENDED.includes(code));
for (const { code, message, path, severity } of found) {
  console.log(["error", "warning", "information", "hint"][severity], code, path.join("."), message);
}
if (!document || found.length) process.exit(1);
