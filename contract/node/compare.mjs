// Says what has changed between two contracts, and whether it breaks clients. Reads a JSON list of
// both on standard input, and prints a JSON list of the changes.
import { readFileSync } from "node:fs";
import { diff } from "@asyncapi/diff";

const WORDS = new Set(["description", "summary", "title", "name", "tags", "examples"]);

// What the tool has no opinion of: schemas, above all. Clients ignore what they do not know, so what
// is added beside the rest breaks nobody; anything else might.
const judged = ({ action, path, type, ...change }) => {
  const names = path.split("/").slice(1);
  const isAdded = action === "add" && ["properties", "enum", "messages", "schemas"].includes(names.at(-2));
  const isHarmless = isAdded || names.some((name) => WORDS.has(name) || name.startsWith("x-"));
  const breaks = type === "breaking" || (type === "unclassified" && !isHarmless);
  return { action, path, breaks, ...change };
};

const [before, after] = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(diff(before, after).getOutput().changes.map(judged)));
