#!/usr/bin/env node
// Follow entities and print their events, one a line: the command that docs/clients.md describes.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { NotificationsClient } from "./notifications-client.js";

const [url, ...rest] = process.argv.slice(2);
const at = rest.indexOf("--since");
const since = at < 0 ? undefined : rest.splice(at, 2)[1];
const user = rest.indexOf("--user");
const subjects = rest.filter((_, index) => index !== user).map((entityId) => ({ entityId }));
if (user >= 0) subjects.push({ user: true });
const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
const options = JSON.parse(process.env.CLIENT_OPTIONS ?? "{}");
const say = (line) => process.stderr.write(`${JSON.stringify(line)}\n`);

const gone = new AbortController();
/** Return what the command prints, which is told why, as an argument that no shell reads. */
const fetched = async (command, reason) => {
  const line = ["-c", `${command} "$1"`, "sh", reason];
  const failed = () => Promise.reject(new Error("The token command failed."));
  const { stdout } = await promisify(execFile)("sh", line, { signal: gone.signal }).catch(failed);
  return stdout.trim();
};

const command = process.env.CLIENT_TOKEN_COMMAND;
const getToken = command && (({ reason }) => fetched(command, reason));
const client = new NotificationsClient(url, { WebSocket, getToken, ...options });
client.on("state", (state) => {
  say(state);
  if (state.state === "closed") process.exitCode = state.code === "ClientClosed" ? 0 : 1;
});
let following = subjects.length;
const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
for (const subject of subjects) {
  const subscription = subject.user
    ? client.subscribeUser(print, { since })
    : client.subscribe(subject.entityId, print, { since });
  subscription.on("gap", (gap) => say({ gap: { ...subject, ...gap } }));
  subscription.on("error", (error) => {
    say({ error: { ...subject, ...error } });
    if (--following) return;
    client.close();
    process.exitCode = 1;
  });
}
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    client.close();
    gone.abort();
  });
}
