// A world without network and without waiting: sockets that a test plays the service on, a clock
// that it turns, and a page that it hides.

import assert from "node:assert/strict";

import { NotificationsClient } from "../notifications-client.js";
import { frameProblem, requestProblem } from "./contract.js";

const real = { setImmediate, Date, now: Date.now };
const GLOBALS = [
  "setTimeout",
  "clearTimeout",
  "setInterval",
  "clearInterval",
  "document",
  "addEventListener",
  "removeEventListener",
];

/** Let all that does not wait for time happen. */
export const settle = () => new Promise((resolve) => real.setImmediate(resolve));

export class Socket {
  constructor(world, url, protocols) {
    Object.assign(this, { world, url, protocols, sent: [], isOpen: false });
    world.sockets.push(this);
  }

  get requests() {
    return this.sent.map((text) => JSON.parse(text));
  }

  get last() {
    return this.requests.at(-1);
  }

  send(text) {
    if (!this.isOpen) throw new Error("not open");
    const problem = requestProblem(JSON.parse(text));
    if (problem) this.world.broken.push(problem);
    this.sent.push(text);
  }

  close(code) {
    this.closedWith ??= code;
  }

  async opens() {
    this.isOpen = true;
    this.onopen?.({});
    await settle();
  }

  async ends(code = 1006, reason = "") {
    this.isOpen = false;
    this.onclose?.({ code, reason });
    await settle();
  }

  /** Send frames, which are of the contract unless the world `isBent`. */
  async says(...frames) {
    for (const frame of frames) {
      if (!this.world.isBent) assert.equal(frameProblem(frame), undefined);
      this.onmessage?.({ data: JSON.stringify(frame) });
    }
    await settle();
  }

  /** Answer the request under way; a `History` is about what was asked for, and a `Pong` has a time. */
  async answers(fields) {
    const { requestId, entityId, user } = this.last;
    const members = { History: user ? { user } : { entityId }, Pong: { time: "2026-11-24T01:47:00.123Z" } };
    await this.says({ ...members[fields.type], ...fields, requestId });
  }

  /** Answer a subscribe: each part is a cursor, or what a reply says about the entity. */
  async subscribed(...parts) {
    const entities = this.last.entities.map(({ since, ...subject }, index) => {
      const part = parts[index];
      // Of a user that there is not, the service only says so.
      if (part.code && subject.user) return part;
      return { ...subject, ...(typeof part === "string" ? { cursor: part } : part) };
    });
    await this.answers({ type: "Subscribed", entities });
  }
}

class Page extends EventTarget {
  listeners = new Map();
  hidden = false;

  addEventListener(type, listener) {
    super.addEventListener(type, listener);
    this.listeners.set(listener, type);
  }

  removeEventListener(type, listener) {
    super.removeEventListener(type, listener);
    this.listeners.delete(listener);
  }
}

export class World {
  sockets = [];
  timers = new Map();
  states = [];
  /** Requests that are none of the contract. */
  broken = [];
  /** Whether the service may say what the contract does not. */
  isBent = false;
  /** What Math.random returns. */
  random = 0.5;
  #now = 1_700_000_000_000;
  #ids = 0;
  #before = {};

  constructor() {
    this.window = new Page();
    this.document = new Page();
    for (const name of GLOBALS) this.#before[name] = globalThis[name];
    this.#before.random = Math.random;
    this.#before.error = console.error;
    this.reported = [];
    console.error = (...what) => this.reported.push(what);
    Math.random = () => (typeof this.random === "function" ? this.random() : this.random);
    Date.now = () => this.#now;
    const start = (callback, asked = 0, every) => {
      // As everywhere: what does not fit into 31 bits is due at once.
      const delay = asked > 2 ** 31 - 1 ? 1 : asked;
      const id = ++this.#ids;
      this.timers.set(id, { callback, at: this.#now + Math.max(delay, 0), every });
      return id;
    };
    Object.assign(globalThis, {
      setTimeout: (callback, delay) => start(callback, delay),
      setInterval: (callback, delay) => start(callback, delay, delay),
      clearTimeout: (id) => this.timers.delete(id),
      clearInterval: (id) => this.timers.delete(id),
      document: this.document,
      addEventListener: (...rest) => this.window.addEventListener(...rest),
      removeEventListener: (...rest) => this.window.removeEventListener(...rest),
    });
  }

  end() {
    const { random, error, ...globals } = this.#before;
    Math.random = random;
    console.error = error;
    Date.now = real.now;
    for (const [name, value] of Object.entries(globals)) {
      if (value === undefined) delete globalThis[name];
      else globalThis[name] = value;
    }
    assert.deepEqual(this.broken, []);
  }

  get socket() {
    return this.sockets.at(-1);
  }

  client(options = {}) {
    const world = this;
    class WebSocket extends Socket {
      constructor(url, protocols) {
        super(world, url, protocols);
      }
    }
    const client = new NotificationsClient("wss://service.test/v1", { WebSocket, ...options });
    client.on("state", (state) => this.states.push(state));
    return client;
  }

  /** A client whose connection is open. */
  async connected(options) {
    const client = this.client(options);
    await settle();
    await this.socket.opens();
    return client;
  }

  /** Turn the clock; what is due happens in its order. */
  async passes(ms) {
    const until = this.#now + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= until);
      if (!due.length) break;
      const [id, timer] = due.reduce((first, other) => (other[1].at < first[1].at ? other : first));
      this.#now = Math.max(this.#now, timer.at);
      if (timer.every) timer.at += timer.every;
      else this.timers.delete(id);
      timer.callback();
      await settle();
    }
    this.#now = until;
  }

  /** Let time pass as while a machine sleeps: timers do not fire until it is over. */
  sleeps(ms) {
    this.#now += ms;
  }

  async hears(target, type) {
    target.dispatchEvent(new Event(type));
    await settle();
  }

  async hides(hidden = true) {
    this.document.hidden = hidden;
    await this.hears(this.document, "visibilitychange");
  }
}

export const EPOCH = "5f0c2a9be41d";
export const at = (number, epoch = EPOCH) => `${epoch}-${number}`;
export const event = (number, { entityId = "order-17", epoch = EPOCH } = {}) => ({
  type: "Entity Updated",
  entityId,
  id: `${entityId}-${epoch}-${number}`,
  time: "2026-11-24T01:46:41Z",
  cursor: at(number, epoch),
});
export const notification = (number) => {
  const { entityId, ...rest } = event(number);
  return { ...rest, type: "User Push Notification", message: "m" };
};
/** A JWT that lives for so many seconds from now on, and has lived for so many. */
export const jwt = (left, lived = 0, claims = {}) => {
  const seconds = Math.floor(Date.now() / 1000);
  const parts = [{ alg: "none" }, { sub: "ü?>", iat: seconds - lived, exp: seconds + left, ...claims }];
  return [...parts, "none"].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
};
export const numbers = (events) => events.map(({ cursor }) => Number(cursor.split("-")[1]));
