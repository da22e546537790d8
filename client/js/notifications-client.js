/**
 * A client of the notifications service that misses nothing: it reconnects, recovers, and replaces
 * a connection before API Gateway closes it. What it does, and why, is in docs/clients.md.
 *
 * Three parts: a `Feed` puts the events of one subscription in order, a `Line` is one connection
 * with its requests, and the `NotificationsClient` decides when there is one, two or none.
 */

const DEFAULTS = {
  connectTimeoutMs: 10_000,
  replyTimeoutMs: 5_000,
  pongTimeoutMs: 5_000,
  // API Gateway closes what is idle for ten minutes, and everything after two hours.
  pingIntervalMs: 480_000,
  rotateAfterMs: [6_300_000, 6_900_000],
  minReconnectDelayMs: 500,
  maxReconnectDelayMs: 20_000,
  stableAfterMs: 5_000,
  holdMs: 2_000,
  parse: JSON.parse,
};
const MAX_WAITING = 100;
const MAX_ENTITIES = 99;
// API Gateway closes a connection that sends a frame of more than 32 KB; some to spare.
const MAX_REQUEST_BYTES = 32_000;
const TICK_MS = 15_000;
const LATE_MS = 10_000;
// Nothing is renewed before, however old the token was.
const RENEW_MS = 1_000;
const MAX_TIMER_MS = 2 ** 31 - 1;
// In place of an entity's id; ids are strings.
const USER = Symbol("user");

const now = () => Date.now();
const between = (low, high) => low + Math.random() * (high - low);
const bytes = (value) => new TextEncoder().encode(JSON.stringify(value)).length;
const isHidden = () => globalThis.document?.hidden;

/** Split a cursor, `<epoch>-<number>`. */
const parse = (cursor) => {
  const [epoch, number] = String(cursor).split("-");
  return [epoch, Number(number)];
};

/** What a request says to be about an entity, or the user. */
const subject = (entityId) => (entityId == USER ? { user: true } : { entityId });

/** The part of a JWT that says how long it lives; it is not for the client to trust or to doubt. */
const claimsOf = (token) => {
  try {
    const { iat, exp } = JSON.parse(
      atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")),
    );
    return { iat: iat * 1000, exp: exp * 1000 };
  } catch {
    return {};
  }
};

/** Why there is no token. */
const withoutToken = (error) => {
  const isFinal = error?.name == "UnauthorizedError";
  return { code: isFinal ? "Unauthorized" : "TokenFailed", reason: error?.message, isFinal };
};

/** Call what is not ours: its failure is reported, and harms nobody. */
const call = (handler, value) => {
  try {
    handler(value)?.then?.(undefined, console.error);
  } catch (error) {
    console.error(error);
  }
};

/** A token in a form that may stand in Sec-WebSocket-Protocol. */
const subprotocol = (token) =>
  /^[\w!#$%&'*+.^`|~-]+$/.test(token)
    ? token
    : "base64url.bearer.authorization." +
      btoa(String.fromCharCode(...new TextEncoder().encode(token)))
        .replaceAll("+", "-")
        .replaceAll("/", "_")
        .replaceAll("=", "");

/** The first of `items` that a request has room for. */
const gather = (items, most = MAX_ENTITIES) => {
  let room = MAX_REQUEST_BYTES;
  return items.slice(0, most).filter((item) => (room -= bytes(item) + 1) > 0);
};

/** Thrown by `getToken` when there is no token to be had: the client closes. */
export class UnauthorizedError extends Error {
  name = "UnauthorizedError";
}

const EMIT = Symbol();

class Emitter {
  #handlers = {};

  on(type, handler) {
    const handlers = (this.#handlers[type] ??= new Set());
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  /** Return whether anybody listens. */
  [EMIT](type, value) {
    for (const handler of this.#handlers[type] ?? []) call(handler, value);
    return this.#handlers[type]?.size > 0;
  }
}

/**
 * One subscription's events, in order and each once.
 *
 * `since` is what to ask with: the position, a cursor up to which nothing is missing; or, before
 * there is one, "last" or undefined.
 */
class Feed {
  waiting = new Map();
  // Of what waits, what was there when a reply was asked for.
  seen = [];
  // Something was seen that is not kept; only a reply can bring it.
  isBehind = false;
  // It has waited long enough: ask.
  isDue = false;

  constructor(since, hooks) {
    this.hooks = hooks;
    this.place(since);
  }

  place(since) {
    this.since = since;
    [this.epoch, this.number] = parse(since);
  }

  get isPlaced() {
    return this.number >= 0;
  }

  get isIncomplete() {
    return this.isBehind || this.waiting.size > 0;
  }

  /** Whether a reply to a request with this `since` is about all that this feed misses. */
  isCoveredBy(since) {
    const [epoch, number] = parse(since);
    return epoch == this.epoch && number <= this.number;
  }

  /** Take an event as it comes. */
  take(event) {
    const [epoch, number] = parse(event.cursor);
    if (this.isPlaced && epoch == this.epoch) {
      if (number == this.number + 1) return this.advance(event);
      if (number <= this.number) return;
    }
    if (this.waiting.size < MAX_WAITING) this.waiting.set(event.cursor, event);
    else this.isBehind = true;
    this.isDue ||= this.isPlaced && this.waiting.size == MAX_WAITING;
  }

  /** What was seen up to now will be in a reply. */
  asked() {
    this.seen = [...this.waiting.keys()];
    this.isBehind = this.isDue = false;
  }

  /**
   * Take what a reply says; `asked` is the `since` of its request.
   *
   * Returns whether nothing is missing now, up to what the service had when it answered.
   */
  answer(asked, { cursor, recovered, more, events = [] }) {
    const [epoch, number] = parse(cursor);
    for (const each of this.seen) {
      const [seenEpoch, seenNumber] = parse(each);
      // Of a log that is no more: what was pushed was in the log before.
      if (seenEpoch != epoch || (!more && seenNumber > number)) this.waiting.delete(each);
    }
    if (!this.isPlaced) {
      // Who asks for the last event needs that reply; who begins anywhere, any that leads to the end.
      if (this.since ? asked != this.since : more) return false;
      if (this.since) for (const event of events) this.give(event);
      this.moveTo(epoch, number);
      return !more;
    }
    const [askedEpoch, askedNumber] = parse(asked);
    const isCovered = this.isCoveredBy(asked);
    for (const event of events) this.take(event);
    if (recovered && isCovered && number > this.number) this.moveTo(epoch, number);
    // From its very position: had it moved on meanwhile, it would not know whether it misses anything.
    if (recovered === false && askedEpoch == this.epoch && askedNumber >= this.number) {
      this.skipTo(epoch, number);
    }
    return !more && epoch == this.epoch && number <= this.number;
  }

  give(event) {
    this.place(event.cursor);
    this.hooks.event(event);
  }

  /** Be at a position, and hand on what waited for it. */
  moveTo(epoch, number) {
    this.place(`${epoch}-${number}`);
    for (const cursor of this.waiting.keys()) {
      const [waitingEpoch, waitingNumber] = parse(cursor);
      if (waitingEpoch == epoch && waitingNumber <= number) this.waiting.delete(cursor);
    }
    const next = this.waiting.get(`${epoch}-${number + 1}`);
    if (next) this.advance(next);
  }

  advance(event) {
    this.give(event);
    this.moveTo(this.epoch, this.number);
  }

  /** Pass over what cannot be had any more; what waits in between is handed on all the same. */
  skipTo(epoch, number) {
    while (epoch != this.epoch || number != this.number) {
      const first = [...this.waiting.keys()]
        .map(parse)
        .filter(([waitingEpoch, waitingNumber]) => waitingEpoch == epoch && waitingNumber <= number)
        .map(([, waitingNumber]) => waitingNumber - 1);
      const to = Math.min(number, ...first);
      const from = this.since;
      this.place(`${epoch}-${to}`);
      this.hooks.gap({ from, to: this.since });
      this.moveTo(epoch, to);
      if (this.number > number) return;
    }
  }
}

/** One connection, and one request at a time on it. */
class Line {
  isOpen = false;
  // Entities that are subscribed to here, and feeds that miss nothing here.
  entities = new Set();
  synced = new WeakSet();
  failures = 0;
  most = MAX_ENTITIES;
  renewals = 0;

  constructor(socket, claims, options, hooks) {
    Object.assign(this, { socket, claims, options, hooks });
    this.timer = setTimeout(
      () => this.leave({ code: "ConnectTimeout" }),
      options.connectTimeoutMs,
    );
    socket.onopen = () => this.open();
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onclose = ({ code, reason }) => this.leave({ code, reason });
    // Always followed by a close; some implementations throw when nobody listens.
    socket.onerror = () => {};
  }

  open() {
    clearTimeout(this.timer);
    this.isOpen = true;
    this.openedAt = this.heardAt = this.tickedAt = now();
    const period = Math.min(TICK_MS, this.options.pingIntervalMs / 4);
    this.ticks = setInterval(() => this.tick(period), period);
    this.rotation = setTimeout(this.hooks.rotate, between(...this.options.rotateAfterMs));
    this.renewLater(RENEW_MS);
    this.hooks.opened(this);
    this.work();
  }

  /** Renew the token at four fifths of its life, not before `least` ms, nor after its end. */
  renewLater(least) {
    const { iat, exp } = this.claims;
    // Comparisons with what is not there are false.
    if (!(iat > 0 && iat < exp && now() + least < exp)) return;
    const ms = Math.min(iat + (exp - iat) * 0.8 - now(), MAX_TIMER_MS);
    if (ms > least) this.renewals = 0;
    this.renewal = setTimeout(() => this.renew(), Math.max(ms, least));
  }

  async renew() {
    try {
      const token = await this.options.getToken({ reason: "authenticate" });
      // One that lives no longer is the same as before: perhaps there is another soon.
      if (token && !(claimsOf(token).exp <= this.claims.exp)) {
        this.token = token;
        return this.work();
      }
    } catch (error) {
      const why = withoutToken(error);
      if (why.isFinal) return this.leave(why);
    }
    if (!this.isLeft) this.renewLater(this.hooks.delay(++this.renewals));
  }

  tick(period) {
    // Browsers delay the timers of hidden pages; elsewhere the machine slept.
    const isLate = now() - this.tickedAt > period + LATE_MS && !isHidden();
    this.tickedAt = now();
    if (isLate || now() - this.heardAt >= this.options.pingIntervalMs) this.doubt();
  }

  /** See whether there is still somebody: a request that is under way will tell. */
  doubt() {
    this.isDoubted = !this.request;
    this.work();
  }

  receive(data) {
    this.heardAt = now();
    let frame;
    try {
      frame = this.options.parse(data);
    } catch {
      return;
    }
    if (frame?.type == "Entity Updated") this.hooks.event(frame.entityId, frame);
    else if (frame?.type == "User Push Notification") this.hooks.event(USER, frame);
    else if (frame?.type == "Disconnect") this.leave({ ...frame, isFinal: frame.reconnect === false });
    // Not the reply to a request: the grants do not cover it any more.
    else if (frame?.type == "Unsubscribed" && frame.code) {
      this.entities.delete(frame.entityId);
      this.hooks.refused(frame.entityId, frame);
    }
    // What API Gateway says itself names no request of ours: it is about the only one.
    else if (this.request && (frame?.type ? frame.requestId == this.request.id : frame?.message)) {
      this.request.answered(frame);
    }
  }

  /** Do what is to be done, until there is nothing more. */
  async work() {
    if (this.isBusy || !this.isOpen) return;
    this.isBusy = true;
    // Gathers what the program says at a time.
    await undefined;
    for (let request; this.isOpen && (request = this.next()); ) {
      const reply = await this.ask(request);
      const { code } = reply;
      if (code == "ConnectionGone" || code == "NotSubscribed") {
        return this.leave({ code: "ConnectionGone" });
      }
      // Another connection, with another token.
      if (code == "TokenExpired" || (code && code != "ServiceUnavailable" && request.frame.token)) {
        return this.leave(reply);
      }
      if (reply.type && code != "ServiceUnavailable" && this.isDone(request, reply)) {
        this.failures = 0;
      } else {
        request.failed?.();
        await new Promise((resolve) => this.pause(resolve));
      }
    }
    this.isBusy = false;
    if (this.isOpen) this.hooks.settled(this);
  }

  pause(resolve) {
    this.timer = setTimeout(resolve, this.hooks.delay(++this.failures));
  }

  isDone(request, reply) {
    try {
      return request.done(reply) ?? true;
    } catch (error) {
      // No reply of this protocol.
      console.error(error);
      return false;
    }
  }

  /** Return the next request, with what is to be done with its reply. */
  next() {
    const { feeds } = this.hooks;
    const { token } = this;
    if (token) {
      return {
        frame: { action: "authenticate", token },
        done: () => {
          this.token = undefined;
          this.claims = claimsOf(token);
          this.renewLater(this.hooks.delay(++this.renewals));
        },
      };
    }
    // A connection has its user's notifications from the beginning to the end.
    if (!feeds.has(USER)) this.entities.delete(USER);
    const unwanted = gather([...this.entities].filter((entityId) => !feeds.has(entityId)));
    if (unwanted[0] != undefined) {
      return {
        frame: { action: "unsubscribe", entityIds: unwanted },
        done: () => {
          for (const entityId of unwanted) this.entities.delete(entityId);
        },
      };
    }
    const wanted = [...feeds].filter(([entityId]) => !this.entities.has(entityId));
    if (wanted[0]) return this.subscribe(wanted);
    this.most = MAX_ENTITIES;
    for (const [entityId, several] of feeds) {
      for (const feed of several) {
        if (!this.synced.has(feed) || (feed.isDue && this.hooks.isCurrent(this))) {
          return this.history(entityId, feed);
        }
      }
    }
    return this.isDoubted && { frame: { action: "ping" }, done() {} };
  }

  subscribe(wanted) {
    const entities = gather(
      wanted.map(([entityId, [feed]]) => ({ ...subject(entityId), since: feed.since })),
      this.most,
    );
    for (const [index, { since }] of entities.entries()) this.hooks.asked(wanted[index][0], since);
    return {
      frame: { action: "subscribe", entities },
      done: (reply) => {
        // None of them, for the sake of one: find out which. Those that came first get the room.
        if (reply.code && entities[1]) {
          this.most = entities.length >> 1;
          return;
        }
        for (const [index, { since }] of entities.entries()) {
          const [entityId] = wanted[index];
          const part = reply.code ? reply : reply.entities[index];
          if (part.code) this.hooks.refused(entityId, part);
          else {
            this.entities.add(entityId);
            this.answer(entityId, since, part);
          }
        }
      },
    };
  }

  history(entityId, feed) {
    // Who begins anywhere wants to know where the log is now.
    const { since = "last" } = feed;
    this.hooks.asked(entityId, since);
    return {
      frame: { action: "history", ...subject(entityId), since },
      failed: () => (feed.isDue = true),
      done: (reply) => {
        if (reply.code) return this.hooks.refused(entityId, reply, feed);
        this.answer(entityId, since, reply);
        // A service that says so without end is not asked without end.
        return !reply.more || feed.since != since;
      },
    };
  }

  answer(entityId, since, part) {
    for (const feed of this.hooks.feeds.get(entityId) ?? []) {
      if (feed.answer(since, part)) {
        this.synced.add(feed);
        feed.hooks.subscribed({ cursor: feed.since, recovered: part.recovered ?? true });
      } else if (part.more) this.synced.delete(feed);
    }
    this.hooks.answered(entityId);
  }

  /** Send a request; return its reply. A line that is left never does. */
  ask({ frame }) {
    this.isDoubted = false;
    const isPing = frame.action == "ping";
    return new Promise((resolve) => {
      const timer = setTimeout(
        () => this.leave({ code: "ReplyTimeout" }),
        isPing ? this.options.pongTimeoutMs : this.options.replyTimeoutMs,
      );
      const id = this.hooks.requestId();
      const answered = (reply) => {
        clearTimeout(timer);
        this.request = undefined;
        resolve(reply);
      };
      this.request = { id, timer, answered };
      this.socket.send(JSON.stringify({ ...frame, requestId: id }));
    });
  }

  /** End it: with 1000 if it was in order, else without waiting for an answer. */
  leave(why) {
    if (this.isLeft) return;
    this.isLeft = true;
    this.isOpen = false;
    const { timer, ticks, rotation, renewal, request } = this;
    for (const each of [timer, ticks, rotation, renewal, request?.timer]) clearTimeout(each);
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (/Timeout/.test(why?.code) && socket.terminate) socket.terminate();
    else socket.close(1000);
    if (why) this.hooks.ended(this, why);
  }
}

/** What `subscribe` returns: events "gap", "error" and "subscribed". */
class Subscription extends Emitter {
  #feed;

  constructor(entityId, feed, unsubscribe) {
    super();
    this.entityId = entityId;
    this.#feed = feed;
    this.unsubscribe = unsubscribe;
  }

  /** Up to here the handler has been given everything; undefined before the first reply. */
  get cursor() {
    return this.#feed.isPlaced ? this.#feed.since : undefined;
  }
}

export class NotificationsClient extends Emitter {
  state = "connecting";
  #url;
  #options;
  #hooks;
  // By entity, the feeds of its subscriptions.
  #feeds = new Map();
  #line;
  #next;
  #attempt;
  #failures = 0;
  #timer;
  #again;
  #reason = "reconnect";
  #requests = 0;
  #listeners = [];

  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...options };
    this.#hooks = {
      feeds: this.#feeds,
      requestId: () => ++this.#requests,
      delay: (failures) => this.#delay(failures),
      isCurrent: (line) => line == this.#line,
      rotate: () => this.rotate(),
      opened: (line) => this.#opened(line),
      settled: (line) => this.#settled(line),
      ended: (line, why) => this.#ended(line, why),
      event: (entityId, event) => {
        this.#feeds.get(entityId)?.forEach((feed) => feed.take(event));
        this.#watch(entityId);
      },
      asked: (entityId, since) => this.#asked(entityId, since),
      answered: (entityId) => this.#watch(entityId),
      refused: (entityId, { code, message = "" }, one) => {
        for (const feed of one ? [one] : this.#feeds.get(entityId) ?? []) {
          feed.hooks.error({ code, message });
        }
      },
    };
    this.#listen(globalThis, "online", () => this.#hurry());
    this.#listen(globalThis, "pageshow", () => this.#doubt());
    this.#listen(globalThis, "offline", () => {
      this.#next?.leave({ code: "Offline" });
      this.#line?.leave({ code: "Offline" });
    });
    this.#listen(globalThis.document, "visibilitychange", () => this.#hurry());
    // After the program has said what it listens to.
    queueMicrotask(() => this.state == "connecting" && this.#connect("connect"));
  }

  /**
   * Call `handler` with each event of an entity, once and in order.
   *
   * `since` is a cursor, to begin after it; "last", for the last event too; or undefined.
   */
  subscribe(entityId, handler, options) {
    const isUsable = typeof entityId == "string" && entityId && [...entityId].length <= 256;
    return this.#subscribe(entityId, handler, options, !isUsable && "InvalidEntityId");
  }

  /** The same with what is pushed to the user whose token it is. */
  subscribeUser(handler, options) {
    return this.#subscribe(USER, handler, options);
  }

  #subscribe(entityId, handler, { since } = {}, problem) {
    if (this.state == "closed") throw new Error("The client is closed.");
    const several = this.#feeds.get(entityId) ?? new Set();
    let isOver = false;
    const unsubscribe = () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(feed.timer);
      several.delete(feed);
      if (!several.size && this.#feeds.get(entityId) == several) this.#feeds.delete(entityId);
      this.#work();
    };
    const unlessOver = (hook) => (value) => isOver || hook(value);
    const feed = new Feed(since, {
      event: unlessOver((event) => call(handler, event)),
      gap: unlessOver((gap) => subscription[EMIT]("gap", gap)),
      subscribed: unlessOver((where) => subscription[EMIT]("subscribed", where)),
      error: unlessOver((error) => {
        unsubscribe();
        if (!subscription[EMIT]("error", error)) console.error(entityId, error);
      }),
    });
    const subscription = new Subscription(subject(entityId).entityId, feed, unsubscribe);
    const invalid =
      problem || (since != undefined && since != "last" && !feed.isPlaced && "InvalidSince");
    if (invalid) {
      queueMicrotask(() => feed.hooks.error({ code: invalid, message: "It was not sent." }));
      return subscription;
    }
    this.#join(feed, several);
    this.#feeds.set(entityId, several.add(feed));
    this.#work();
    return subscription;
  }

  /** Replace the connection by a new one, without a pause. It does so by itself in time. */
  rotate() {
    if (!this.#line?.isOpen || this.#next || this.#attempt) return;
    this.#connect("rotate");
  }

  /** End it all, for good. */
  close() {
    this.#end({ code: "ClientClosed" });
  }

  #listen(target, type, listener) {
    target?.addEventListener?.(type, listener);
    this.#listeners.push(() => target?.removeEventListener?.(type, listener));
  }

  #say(state, rest) {
    this.state = state;
    this[EMIT]("state", { state, ...rest });
  }

  #delay(failures) {
    const { minReconnectDelayMs: least, maxReconnectDelayMs: most } = this.#options;
    return between(least, Math.min(most, least * 2 ** failures));
  }

  async #connect(reason) {
    clearTimeout(this.#timer);
    // A later attempt takes its place.
    const attempt = (this.#attempt = {});
    const isRotation = reason == "rotate";
    if (!isRotation) this.#say("connecting");
    const protocols = ["websocket"];
    let socket, claims, why;
    try {
      const token = await this.#options.getToken?.({ reason });
      if (token) protocols.push(subprotocol(token));
      claims = claimsOf(token);
    } catch (error) {
      why = withoutToken(error);
    }
    if (attempt != this.#attempt) return;
    this.#attempt = undefined;
    try {
      if (!why) socket = new this.#options.WebSocket(this.#url, protocols);
    } catch ({ message }) {
      why = { code: "Refused", reason: message, isFinal: true };
    }
    if (why) this.#ended(undefined, why);
    else {
      const line = new Line(socket, claims, this.#options, this.#hooks);
      if (isRotation) this.#next = line;
      else this.#line = line;
    }
  }

  #opened(line) {
    if (line == this.#line) this.#say("connected");
  }

  /** The new one has it all: the old one can go. */
  #settled(line) {
    if (line != this.#next) return;
    this.#line.leave();
    this.#line = line;
    this.#next = undefined;
  }

  #ended(line, why) {
    const { code, reason = why.message ?? "" } = why;
    if (why.isFinal) return this.#end({ code, reason });
    if (now() - line?.openedAt >= this.#options.stableAfterMs) this.#failures = 0;
    if (line == this.#line) {
      this.#line = this.#next;
      this.#next = undefined;
      if (this.#line) return this.#line.isOpen || this.#say("connecting");
      this.#attempt = undefined;
    } else this.#next = undefined;
    const delayMs = this.#delay(++this.#failures);
    clearTimeout(this.#timer);
    if (this.#line) {
      this.#timer = setTimeout(() => this.rotate(), delayMs);
      return;
    }
    // What the service gives as a reason is one to the source of tokens too, until it is open again.
    if (why.type) this.#reason = code;
    else if (line?.openedAt) this.#reason = "reconnect";
    // A hidden page waits until somebody looks.
    this.#again = (inMs = 0) => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => isHidden() || this.#connect(this.#reason), inMs);
    };
    this.#again(delayMs);
    this.#say("disconnected", {
      code,
      reason,
      willRetry: true,
      delayMs: isHidden() ? undefined : delayMs,
    });
  }

  #end({ code, reason = "" }) {
    if (this.state == "closed") return;
    clearTimeout(this.#timer);
    this.#attempt = undefined;
    for (const remove of this.#listeners) remove();
    for (const [, several] of this.#feeds) for (const feed of several) clearTimeout(feed.timer);
    this.#feeds.clear();
    this.#next?.leave();
    this.#line?.leave();
    this.#line = this.#next = undefined;
    this.#say("closed", { code, reason, willRetry: false });
  }

  /** Do not wait: there is a network again, or somebody who looks. */
  #hurry() {
    if (isHidden()) return;
    if (this.state == "disconnected") {
      this.#failures = 0;
      this.#again();
    } else this.#doubt();
  }

  #doubt() {
    if (this.#line?.isOpen) this.#line.doubt();
  }

  #work() {
    this.#line?.work();
    this.#next?.work();
  }

  /** Begin where the others of the entity are, if the program does not say where. */
  #join(feed, others) {
    const other = [...others].find(({ isPlaced }) => isPlaced);
    if (!other || feed.since) return;
    feed.place(other.since);
    for (const line of [this.#line, this.#next]) {
      if (!other.isIncomplete && line?.synced.has(other)) line.synced.add(feed);
    }
  }

  #asked(entityId, since) {
    for (const feed of this.#feeds.get(entityId)) {
      if (feed.isPlaced && !feed.isCoveredBy(since)) continue;
      feed.asked();
      this.#calm(feed);
    }
  }

  #calm(feed) {
    clearTimeout(feed.timer);
    feed.timer = undefined;
  }

  /** Give what is missing some time to come by itself. */
  #watch(entityId) {
    for (const feed of this.#feeds.get(entityId) ?? []) {
      if (!feed.isIncomplete) {
        feed.isDue = false;
        this.#calm(feed);
      } else if (feed.isDue) this.#work();
      else {
        feed.timer ??= setTimeout(() => {
          feed.isDue = true;
          this.#work();
        }, this.#options.holdMs);
      }
    }
  }
}
