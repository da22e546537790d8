// Publish changes of entities: node examples/publish.mjs [BUS] < changes
// Standard input holds a change a line, such as {"entityId":"order-17","message":"packed"}.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";

// PutEvents takes ten entries, and 1 MB, which was 256 KB for long. A frame may have 120 KB.
const [MOST_ENTRIES, MOST_BYTES, LARGEST_DETAIL] = [10, 250_000, 119_000];
const PASSING = ["InternalFailure", "ThrottlingException"];

/**
 * Put a change after the other on the bus; throw if some are not taken.
 * PutEvents succeeds even if it refuses entries: each has its own answer.
 */
export async function publish(changes, bus = "default") {
  const events = new EventBridgeClient();
  for await (let batch of batches(changes, bus)) {
    let codes = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      const answers = (await events.send(new PutEventsCommand({ Entries: batch }))).Entries;
      batch = batch.filter((_, at) => answers[at].ErrorCode);
      codes = answers.map((answer) => answer.ErrorCode).filter(Boolean);
      if (!batch.length || codes.some((code) => !PASSING.includes(code))) break;
      await sleep(50 + Math.random() * 100 * 2 ** attempt);
    }
    if (batch.length) throw new Error(`not taken, for ${codes.join()}: ${JSON.stringify(batch)}`);
  }
}

function entry(change, bus) {
  const Detail = JSON.stringify(change);
  if (Buffer.byteLength(Detail) > LARGEST_DETAIL) throw new Error(`too large for a frame: ${Detail.slice(0, 80)}...`);
  return { EventBusName: bus, Source: "my.application", DetailType: "Entity Updated", Detail };
}

async function* batches(changes, bus) {
  let [batch, size] = [[], 0];
  for await (const change of changes) {
    const each = entry(change, bus);
    const bytes = Buffer.byteLength(Object.values(each).join(""));
    if (batch.length === MOST_ENTRIES || (batch.length && size + bytes > MOST_BYTES)) {
      yield batch;
      [batch, size] = [[], 0];
    }
    batch.push(each);
    size += bytes;
  }
  if (batch.length) yield batch;
}

async function* parsed(lines) {
  for await (const line of lines) yield JSON.parse(line);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await publish(parsed(createInterface({ input: process.stdin })), process.argv[2]);
}
