// Holds what a test's service and the client say to the contract, asyncapi.yaml. What clients say may
// have members that nobody knows; what the service says may not.

import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import { parse } from "yaml";

const PATH = new URL("../../../asyncapi.yaml", import.meta.url);
const ROOT = "#/components/schemas/";
const { channels, components, operations } = parse(readFileSync(PATH, "utf8"));
const nameOf = ({ $ref }) => $ref.split("/").at(-1);
const isOf = (channel) => (operation) => nameOf(operation.channel) == channel;
const listed = (messages = []) => messages.map(nameOf).filter((name) => name in components.schemas);
const of = Object.values(operations).filter(isOf("notifications"));
const requests = of.filter(({ action }) => action == "receive").flatMap(({ messages }) => listed(messages));
const frames = new Set(
  of.flatMap(({ action, messages, reply }) => [
    ...listed(reply?.messages),
    ...(action == "send" ? listed(messages) : []),
  ]),
);

/** Compile messages, by what tells them apart: the constant of a member. */
function compiled(names, schemas, member) {
  // Formats are for people here; the service's own tests hold its times to them.
  const ajv = new Ajv({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: "contract", components: { schemas } });
  const kinds = new Map();
  for (const name of names) {
    const key = schemas[name].properties[member]?.const;
    const kind = { name, fits: ajv.getSchema(`contract${ROOT}${name}`) };
    kinds.set(key, [...(kinds.get(key) ?? []), kind]);
  }
  return kinds;
}

const closed = Object.fromEntries(
  Object.entries(components.schemas).map(([name, schema]) => [
    name,
    schema.type == "object" ? { ...schema, additionalProperties: false } : schema,
  ]),
);
const ofClient = compiled(requests, components.schemas, "action");
const ofService = compiled(frames, closed, "type");

/** Say why not exactly one message fits; nothing if one does. */
function problem(kinds = [], value) {
  const fitting = kinds.filter(({ fits }) => fits(value));
  if (fitting.length == 1) return undefined;
  const why = fitting.length
    ? `is each of ${fitting.map(({ name }) => name)}`
    : kinds.map(({ name, fits }) => `no ${name}: ${fits.errors?.map((e) => `${e.instancePath} ${e.message}`)}`).join("; ");
  return `${JSON.stringify(value)} ${why || "is no message of the contract"}`;
}

export const requestProblem = (request) => problem(ofClient.get(request?.action), request);
export const frameProblem = (frame) => problem(ofService.get(frame?.type), frame);
