// The promise as a whole: a service that keeps its own, behind lines that do what lines do.

import assert from "node:assert/strict";
import { it } from "node:test";

import { event, numbers, settle, World } from "./world.js";

const SCHEDULES = Number(process.env.SCHEDULES ?? 300);
const FIRST_SEED = Number(process.env.FIRST_SEED ?? 1);
// The last one stands for the user.
const USER = "the user";
const ENTITIES = ["a", "b", "c", USER];
// Of a log: what is older is no longer kept.
const KEPT = 40;

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const idOf = ({ user, entityId }) => (user ? USER : entityId);
const frameOf = (number, id, epoch) => {
  const { entityId, ...rest } = event(number, { entityId: id, epoch });
  return id === USER ? { ...rest, type: "User Push Notification" } : { entityId, ...rest };
};

class Service {
  constructor(world, random) {
    Object.assign(this, { world, random });
    this.logs = new Map(ENTITIES.map((entityId) => [entityId, { epoch: "0".repeat(12), number: 0 }]));
    // Of each socket, what is subscribed to, what was read, and what is on its way to the client.
    this.lines = new Map();
    this.gaps = 0;
  }

  chance(share) {
    return this.random() < share;
  }

  one(of) {
    return of[Math.floor(this.random() * of.length)];
  }

  publish() {
    const entityId = this.one(ENTITIES);
    const log = this.logs.get(entityId);
    if (this.chance(0.002)) {
      log.epoch = Math.floor(this.random() * 1e12).toString(16).padStart(12, "0");
      log.number = 0;
    }
    const frame = frameOf(++log.number, entityId, log.epoch);
    for (const line of this.lines.values()) {
      if (!line.subscribed.has(entityId)) continue;
      // Tried again later, or twice; each may overtake what came before.
      for (let copies = this.chance(0.1) ? 2 : 1; copies; copies--) this.send(line, frame);
    }
  }

  send(line, frame) {
    const late = this.chance(0.2) ? Math.floor(this.random() * 12) : 0;
    line.toClient.splice(Math.max(line.toClient.length - late, 0), 0, frame);
  }

  /** Read requests, and answer them: somewhere among what is on its way. */
  serve() {
    for (const [socket, line] of this.lines) {
      for (; line.read < socket.sent.length; line.read++) {
        const request = JSON.parse(socket.sent[line.read]);
        this.send(line, { ...this.reply(line, request), requestId: request.requestId });
      }
    }
  }

  reply(line, { action, entities, entityIds, ...part }) {
    if (this.chance(0.05)) return { type: "Error", code: "ServiceUnavailable", message: "" };
    switch (action) {
      case "subscribe":
        for (const part of entities) line.subscribed.add(idOf(part));
        return { type: "Subscribed", entities: entities.map((part) => this.recover(part)) };
      case "history":
        return { type: "History", ...this.recover(part) };
      case "unsubscribe":
        for (const each of entityIds) line.subscribed.delete(each);
        return { type: "Unsubscribed", entityIds };
      default:
        return { type: "Pong", time: "2026-11-24T01:47:00.123Z" };
    }
  }

  recover({ since, ...part }) {
    const entityId = idOf(part);
    const { epoch, number } = this.logs.get(entityId);
    const head = `${epoch}-${number}`;
    if (since === undefined) return { ...part, cursor: head };
    const events = (from, to) =>
      Array.from({ length: to - from }, (_, index) => frameOf(from + index + 1, entityId, epoch));
    if (since === "last") {
      return { ...part, recovered: true, events: events(Math.max(number - 1, 0), number), cursor: head };
    }
    const [sinceEpoch, sinceNumber] = since.split("-");
    const from = Number(sinceNumber);
    if (sinceEpoch !== epoch || from > number || number - from > KEPT) {
      return { ...part, recovered: false, events: [], cursor: head };
    }
    const to = Math.min(number, from + 1 + Math.floor(this.random() * 20));
    const more = to < number ? { more: true } : {};
    return { ...part, recovered: true, events: events(from, to), cursor: `${epoch}-${to}`, ...more };
  }

  async step() {
    for (const socket of this.world.sockets) {
      if (socket.closedWith !== undefined) this.lines.delete(socket);
      else if (!this.lines.has(socket) && !socket.isOpen && socket.onopen) {
        if (this.chance(0.1)) await socket.ends();
        else if (this.chance(0.5)) {
          this.lines.set(socket, { subscribed: new Set(), read: 0, toClient: [] });
          await socket.opens();
        }
      }
    }
    if (this.chance(0.7)) this.publish();
    if (this.chance(0.5)) this.serve();
    for (const [socket, line] of this.lines) {
      if (this.chance(0.8) && line.toClient.length) await socket.says(line.toClient.shift());
      if (this.chance(0.01)) {
        this.lines.delete(socket);
        await socket.ends();
      }
    }
    await this.world.passes(this.random() * 300);
  }

  /** Without further trouble, let everything come to rest. */
  async rest() {
    this.chance = (share) => share >= 0.5;
    for (let turn = 0; turn < 200; turn++) {
      this.serve();
      for (const socket of this.world.sockets) {
        const line = this.lines.get(socket);
        if (socket.closedWith !== undefined) this.lines.delete(socket);
        else if (line) await socket.says(...line.toClient.splice(0));
        else if (!socket.isOpen && socket.onopen) {
          this.lines.set(socket, { subscribed: new Set(), read: 0, toClient: [] });
          await socket.opens();
        }
      }
      await this.world.passes(500);
    }
  }

}

async function run(seed) {
  const world = new World();
  const random = generator(seed);
  world.random = random;
  try {
    const service = new Service(world, random);
    const client = world.client({ rotateAfterMs: [3_000, 30_000] });
    const followers = ENTITIES.concat("a").map((entityId, index) => {
      const story = [];
      const options = index === ENTITIES.length ? { since: "last" } : {};
      const handler = (each) => story.push(each.cursor);
      const subscription =
        entityId === USER
          ? client.subscribeUser(handler, options)
          : client.subscribe(entityId, handler, options);
      subscription.on("gap", ({ from, to }) => story.push({ from, to }));
      subscription.on("error", ({ code }) => assert.fail(code));
      return { entityId, subscription, story };
    });
    await settle();
    for (let step = 0; step < 300; step++) await service.step();
    await service.rest();
    for (const { entityId, subscription, story } of followers) {
      const { epoch, number } = service.logs.get(entityId);
      assert.equal(subscription.cursor, `${epoch}-${number}`, "it has all there is");
      let at;
      for (const item of story) {
        if (typeof item === "object") {
          if (at !== undefined) assert.equal(item.from, at, "a gap begins where it was");
          at = item.to;
          continue;
        }
        const [itemEpoch, itemNumber] = item.split("-");
        if (at !== undefined) {
          assert.equal(item, `${at.split("-")[0]}-${Number(at.split("-")[1]) + 1}`, "the next");
        }
        at = `${itemEpoch}-${itemNumber}`;
      }
      if (at !== undefined) assert.equal(at, subscription.cursor);
    }
    client.close();
    assert.equal(world.timers.size, 0);
    assert.deepEqual(world.reported, []);
    return followers.reduce((count, { story }) => count + story.length, 0);
  } finally {
    world.end();
  }
}

it("each event comes once and in order, or a gap says that it does not", async () => {
  let events = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SCHEDULES; seed++) {
    try {
      events += await run(seed);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  assert.ok(events > 50 * SCHEDULES, `${events}`);
});
