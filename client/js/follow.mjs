#!/usr/bin/env node
// Follow entities and print their events, one a line: the command that docs/clients.md describes.

import { NotificationsClient } from "./notifications-client.js";

const [url, ...rest] = process.argv.slice(2);
const at = rest.indexOf("--since");
const since = at < 0 ? undefined : rest.splice(at, 2)[1];
const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
const options = JSON.parse(process.env.CLIENT_OPTIONS ?? "{}");
const say = (line) => process.stderr.write(`${JSON.stringify(line)}\n`);

const client = new NotificationsClient(url, { WebSocket, ...options });
client.on("state", (state) => {
  say(state);
  if (state.state === "closed") process.exitCode = state.code === "ClientClosed" ? 0 : 1;
});
let following = rest.length;
for (const entityId of rest) {
  const subscription = client.subscribe(
    entityId,
    (event) => process.stdout.write(`${JSON.stringify(event)}\n`),
    { since },
  );
  subscription.on("gap", (gap) => say({ gap: { entityId, ...gap } }));
  subscription.on("error", (error) => {
    say({ error: { entityId, ...error } });
    if (--following) return;
    client.close();
    process.exitCode = 1;
  });
}
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => client.close());
