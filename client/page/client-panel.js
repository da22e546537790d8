/** One client on the page: its connection, its subscriptions, what it got, and its counters. */

import { NotificationsClient } from "/notifications-client.js";
import * as api from "./api.js";
import { byId, make, oncePerFrame, say, setText, shortened } from "./dom.js";
import { Identity } from "./identity.js";
import { Tally } from "./tally.js";
import { eventsIn, loggingWebSocket } from "./wire.js";

const MAX_EVENTS = 60;
const MAX_FRAMES = 200;
const MAX_FRAME_LENGTH = 500;
const MAX_ORIGINS = 5000;
// A line that is frozen is noticed after a ping interval and a wait for the pong.
const PING_INTERVAL_MS = 5_000;
const PONG_TIMEOUT_MS = 4_000;
// Longer than by default, so that one sees it.
const MIN_RECONNECT_DELAY_MS = 1_000;
// For how long after the last disturbance something missing may be on its way.
const SETTLES_WITHIN_MS = 20_000;

const STATES = {
  connecting: "○ connecting",
  connected: "● connected",
  disconnected: "◌ disconnected",
  closed: "✕ closed",
};

const TILES = [
  ["published", "Published", "since it subscribed"],
  ["received", "Received", "each counted once"],
  ["repeated", "Handed on twice", "expected: 0"],
  ["duplicates", "Dropped duplicates", "any number: seen on the wire, and dropped"],
  ["inGap", "In a gap", "expected: 0, unless the history was trimmed"],
  ["missing", "Missing", "expected: 0 once settled"],
];

const SAID = {
  cut: "Cut: the client sees 1006, connects again in a second or two, and asks for what it missed.",
  freeze:
    "Frozen: neither side hears the other, and nobody is told. The client notices within ten seconds, since it sends a ping after 5 s without a frame.",
  close: "Closed by the server with 1001: the client comes back.",
};

export class ClientPanel {
  /** What the gateway knows it by: this page's own, so that two open pages do not disturb each other. */
  name;
  /** Called when something changed that others show. */
  onChange = () => {};

  #label;
  #uri;
  #parts = {};
  #client;
  // Where tokens are asked for: who it is, and what it is told as that user.
  #identity;
  #own = {};
  #isOpen = false;
  #subscriptions = new Map();
  #events = [];
  #received = 0;
  #pushed = 0;
  #frames = [];
  #framesSeen = 0;
  // How each event came first, by cursor: live, or in a reply.
  #origins = new Map();
  #nextTryAt;
  #disturbedAt = 0;
  // When somebody made trouble that the client has not got over yet.
  #troubledAt;
  #isBusy = false;
  #draw = oncePerFrame(() => this.#show());

  /** `authentication` is the issuer whose tokens are asked for, if any; `wish` what one says at first. */
  constructor(label, uri, tag, authentication, wish) {
    this.#label = label;
    this.name = `${label}-${tag}`;
    this.#uri = `${uri}?name=${this.name}`;
    this.#build();
    if (authentication) {
      this.#identity = new Identity(this.#parts, authentication, wish, {
        restart: () => this.#restart(),
        say: (text, isProblem) => this.#say(text, isProblem),
      });
    }
    this.connect();
  }

  get entities() {
    return [...this.#subscriptions.keys()];
  }

  get received() {
    return this.#received;
  }

  /** Connect, and go on where a client before this one was. */
  connect() {
    for (const held of [...this.#subscriptions.values(), this.#own]) {
      held.cursor = held.subscription?.cursor ?? held.cursor;
    }
    this.#client = new NotificationsClient(this.#uri, {
      ...(this.#identity && { getToken: this.#identity.tokens() }),
      WebSocket: loggingWebSocket((isSent, text) => this.#log(isSent, text)),
      pingIntervalMs: PING_INTERVAL_MS,
      pongTimeoutMs: PONG_TIMEOUT_MS,
      minReconnectDelayMs: MIN_RECONNECT_DELAY_MS,
    });
    this.#client.on("state", (state) => this.#changed(state));
    for (const [entityId, held] of this.#subscriptions) this.#follow(entityId, held);
    if (this.#identity) this.#followUser();
    this.#showState({ state: "connecting" });
  }

  subscribe(entityId) {
    const former = this.#subscriptions.get(entityId);
    if (former && !former.refusal) {
      return this.#say(`It is subscribed to ${entityId} already.`);
    }
    const held = former ?? { tally: new Tally(), cursor: undefined, isCounted: false };
    this.#subscriptions.set(entityId, held);
    if (this.#client.state !== "closed") this.#follow(entityId, held);
    this.#disturb();
  }

  unsubscribe(entityId) {
    this.#subscriptions.get(entityId)?.subscription?.unsubscribe();
    this.#subscriptions.delete(entityId);
    this.#disturb();
  }

  /** Return a function that takes the ids of what is about to be published; undefined if it is not its. */
  counting(entityId) {
    const held = this.#subscriptions.get(entityId);
    if (!held?.isCounted) return undefined;
    return (ids) => {
      held.tally.publish(ids);
      this.#disturb();
    };
  }

  /** Say whether anything is on its way that might still come. */
  set isBusy(isBusy) {
    this.#isBusy = isBusy;
    if (isBusy) this.#disturbedAt = Date.now();
    this.#draw();
  }

  /** Replace the client by one that goes on where it was, with a token of its own. */
  #restart() {
    // It was no trouble, and what was said of it stays.
    this.#troubledAt = undefined;
    this.#client.close();
    this.connect();
  }

  #follow(entityId, held) {
    held.refusal = undefined;
    const options = held.cursor && { since: held.cursor };
    held.subscription = this.#client.subscribe(entityId, (event) => this.#take(held, event), options);
    held.subscription.on("subscribed", () => {
      held.isCounted = true;
      this.#draw();
    });
    held.subscription.on("gap", (gap) => {
      held.tally.gap(gap);
      this.#remember({ entityId, gap });
      this.#say(`${entityId}: what came after ${gap.from}, up to ${gap.to}, cannot be had any more.`);
    });
    held.subscription.on("error", ({ code, message }) => {
      held.isCounted = false;
      // It may be allowed to who has another token.
      if (code === "Forbidden") held.refusal = code;
      else this.#subscriptions.delete(entityId);
      this.#say(`${entityId}: ${code}. ${message}`, true);
      this.#disturb();
    });
  }

  /** Listen to what is for the user, if this client can. */
  #followUser() {
    const { user } = this.#identity;
    const since = user === this.#own.user ? this.#own.cursor : undefined;
    const subscription = this.#client.subscribeUser?.(
      (event) => {
        this.#pushed += 1;
        this.#remember({ ...event, entityId: "(user)", isLive: this.#isLive(event) });
      },
      since && { since },
    );
    this.#own = { user, subscription, cursor: since };
    subscription?.on("gap", (gap) => this.#remember({ entityId: "(user)", gap }));
    subscription?.on("error", ({ code, message }) => this.#say(`(user): ${code}. ${message}`, true));
  }

  #take(held, event) {
    held.tally.receive(event);
    this.#received += 1;
    const publishedAt = event.data?.publishedAt;
    this.#remember({
      entityId: event.entityId,
      cursor: event.cursor,
      message: event.message,
      latency: Number.isFinite(publishedAt) ? Math.max(0, Date.now() - publishedAt) : undefined,
      isLive: this.#isLive(event),
    });
  }

  #isLive({ entityId, cursor }) {
    return this.#origins.get(`${entityId}\n${cursor}`);
  }

  #remember(event) {
    this.#events.unshift(event);
    this.#events.length = Math.min(this.#events.length, MAX_EVENTS);
    this.#draw();
    this.onChange();
  }

  #log(isSent, text) {
    this.#framesSeen += 1;
    this.#frames.unshift({ isSent, text: shortened(String(text), MAX_FRAME_LENGTH) });
    this.#frames.length = Math.min(this.#frames.length, MAX_FRAMES);
    if (!isSent) this.#see(text);
    this.#draw();
  }

  #see(text) {
    const { isLive, events } = eventsIn(text);
    for (const { entityId, cursor } of events) {
      this.#subscriptions.get(entityId)?.tally.see(cursor);
      const key = `${entityId}\n${cursor}`;
      if (!this.#origins.has(key)) this.#origins.set(key, isLive);
      if (this.#origins.size > MAX_ORIGINS) {
        this.#origins.delete(this.#origins.keys().next().value);
      }
    }
  }

  #changed(change) {
    this.#nextTryAt = change.delayMs === undefined ? undefined : Date.now() + change.delayMs;
    this.#showState(change);
    this.#judgeToken(change);
    this.#disturb();
    if (change.state === "connected" && this.#troubledAt) {
      const seconds = ((Date.now() - this.#troubledAt) / 1000).toFixed(1);
      this.#troubledAt = undefined;
      this.#say(`Back after ${seconds} s; it asked for what it missed.`);
    }
  }

  /** Take what a state says of the token, and say what to do if there is no way back. */
  #judgeToken({ state, code, reason }) {
    if (state === "disconnected" && code === 1006 && !this.#isOpen) this.#identity?.refused();
    if (state !== "connecting") this.#isOpen = state === "connected";
    if (code === "Kicked" && this.#identity) this.#say(this.#identity.farewell, true);
    if (code === "Unauthorized") this.#say(reason, true);
  }

  #disturb() {
    this.#disturbedAt = Date.now();
    this.#draw();
    this.onChange();
  }

  #say(text, isProblem) {
    say(this.#parts.said, text, isProblem);
  }

  async #do(action) {
    if (action === "toggle") return this.#toggle();
    if (action === "rotate") {
      this.#client.rotate();
      return this.#say("Rotating: a second connection takes over, and then the first is closed.");
    }
    this.#disturb();
    this.#troubledAt = Date.now();
    try {
      const details = action === "close" ? { code: 1001, reason: "Going away" } : undefined;
      const { connections } = await api.act(action, this.name, details);
      if (!connections) throw new Error("It has no connection at the moment.");
      // It may be back before the answer is here.
      if (this.#troubledAt) this.#say(SAID[action]);
    } catch ({ message }) {
      this.#troubledAt = undefined;
      this.#say(message, true);
    }
  }

  #toggle() {
    this.#troubledAt = Date.now();
    if (this.#client.state === "closed") {
      this.#identity?.again();
      return this.connect();
    }
    this.#client.close();
    this.#say("Disconnected. What is published now it will ask for when it is back.");
  }

  #build() {
    const card = byId("client").content.firstElementChild.cloneNode(true);
    for (const element of card.querySelectorAll("[data-part]")) {
      this.#parts[element.dataset.part] = element;
    }
    const heading = card.querySelector("h2");
    heading.id = `${this.#label}-heading`;
    heading.textContent = `Client ${this.#label}`;
    this.#parts.whose.textContent = `Client ${this.#label}: `;
    card.id = this.#label;
    card.setAttribute("aria-labelledby", heading.id);
    this.#parts.identity.setAttribute("aria-label", `Identity of client ${this.#label}`);
    this.#parts.users.setAttribute("aria-label", `User of client ${this.#label}`);
    this.#parts.trouble.setAttribute("aria-label", `Trouble for client ${this.#label}`);
    this.#parts["events-region"].setAttribute("aria-label", `Events of client ${this.#label}`);
    this.#parts.frames.setAttribute("aria-label", `Frames of client ${this.#label}, newest first`);
    card.addEventListener("click", ({ target }) => {
      const action = target.closest("[data-do]")?.dataset.do;
      if (action) this.#do(action);
    });
    this.#parts.subscribe.addEventListener("submit", (event) => {
      event.preventDefault();
      const { entityId } = event.target.elements;
      this.subscribe(entityId.value);
      event.target.reset();
    });
    this.#parts.tiles.append(
      ...TILES.map(([name, label]) => {
        const tile = make("div", { className: "tile" });
        tile.dataset.tile = name;
        tile.append(
          make("dt", {}, label),
          make("dd", {}, make("b", {}, "0"), make("span", { className: "verdict" })),
        );
        return tile;
      }),
    );
    card.querySelector("details").addEventListener("toggle", () => this.#draw());
    byId("clients").append(card);
    setInterval(() => this.#showNextTry(), 200);
  }

  #showState({ state, code, reason }) {
    this.#parts.pill.dataset.state = state;
    // What these mean is said below.
    const words = reason && !["Unauthorized", "Kicked"].includes(code) ? ` ${reason}` : "";
    const why = code === undefined || code === "ClientClosed" ? "" : ` (${code}${words})`;
    setText(this.#parts.state, `${STATES[state]}${why}`);
    const toggle = this.#parts.pill.parentElement.querySelector("[data-do=toggle]");
    setText(toggle, state === "closed" ? "Connect" : "Disconnect");
    this.#showNextTry();
  }

  #showNextTry() {
    const left = this.#nextTryAt === undefined ? 0 : this.#nextTryAt - Date.now();
    setText(this.#parts.next, left > 0 ? `next try in ${(left / 1000).toFixed(1)} s` : "");
  }

  #show() {
    this.#showChips();
    this.#showTiles();
    this.#showEvents();
    this.#showFrames();
  }

  #showChips() {
    const { chips } = this.#parts;
    const shown = [...chips.children].map(({ dataset }) => [dataset.entity, dataset.refusal ?? null]);
    const wanted = [...this.#subscriptions].map(([id, { refusal }]) => [id, refusal ?? null]);
    if (JSON.stringify(shown) === JSON.stringify(wanted)) return;
    chips.replaceChildren(
      ...wanted.map(([entityId, refusal]) => {
        const remove = make("button", { type: "button", title: `Unsubscribe from ${entityId}` }, "×");
        remove.setAttribute("aria-label", `Unsubscribe from ${entityId}`);
        remove.addEventListener("click", () => {
          this.unsubscribe(entityId);
          this.#parts.subscribe.elements.entityId.focus();
        });
        const chip = make("li", {}, make("span", {}, entityId), remove);
        chip.dataset.entity = entityId;
        if (refusal) {
          chip.dataset.refusal = refusal;
          remove.before(make("b", {}, ` ✕ ${refusal}`));
        }
        return chip;
      }),
    );
  }

  #showTiles() {
    const tallies = [...this.#subscriptions.values()].map(({ tally }) => tally);
    const sum = (name) => tallies.reduce((total, tally) => total + tally[name], 0);
    for (const [name, , note] of TILES) {
      const count = sum(name);
      const tile = this.#parts.tiles.querySelector(`[data-tile=${name}]`);
      const [verdict, text] = this.#judge(name, count, note);
      tile.dataset.verdict = verdict;
      setText(tile.querySelector("b"), String(count));
      setText(tile.querySelector(".verdict"), text);
    }
  }

  /** Return whether a count is as it should be, and the words for it. */
  #judge(name, count, note) {
    if (name === "repeated") return count ? ["wrong", `✗ ${note}`] : ["right", `✓ ${note}`];
    if (name === "inGap") return count ? ["noted", `! ${note}`] : ["right", `✓ ${note}`];
    if (name !== "missing") return ["plain", note];
    if (!count) return ["right", `✓ ${note}`];
    const isSettling =
      this.#isBusy ||
      this.#client.state !== "connected" ||
      Date.now() - this.#disturbedAt < SETTLES_WITHIN_MS;
    return isSettling ? ["waiting", `… on the way, ${note}`] : ["wrong", `✗ ${note}`];
  }

  #showEvents() {
    setText(this.#parts["events-count"], String(this.#received + this.#pushed));
    this.#parts["no-events"].hidden = this.#events.length > 0;
    this.#parts.events.replaceChildren(...this.#events.map(row));
  }

  #showFrames() {
    const { frames } = this.#parts;
    setText(this.#parts["frames-count"], String(this.#framesSeen));
    if (!frames.parentElement.open) return;
    frames.replaceChildren(
      ...this.#frames.map(({ isSent, text }) =>
        make(
          "li",
          { className: isSent ? "sent" : "came" },
          make("span", { className: "way" }, isSent ? "→ sent" : "← came"),
          make("code", {}, text),
        ),
      ),
    );
  }
}

const row = ({ entityId, gap, cursor, message, latency, isLive }) => {
  if (gap) {
    const text = `! gap: after ${gap.from}, up to ${gap.to}`;
    return make("tr", { className: "gap" }, make("td", {}, entityId), make("td", { colSpan: 4 }, text));
  }
  const [epoch, number] = cursor.split("-");
  return make(
    "tr",
    {},
    make("td", {}, entityId),
    make("td", { className: "cursor" }, make("span", {}, `${epoch}-`), make("b", {}, number)),
    make("td", {}, message === undefined ? "" : shortened(text(message), 80)),
    make("td", { className: "number" }, latency === undefined ? "–" : String(latency)),
    make("td", {}, make("span", { className: isLive ? "live" : "recovered" }, isLive ? "live" : "recovered")),
  );
};

const text = (message) => (typeof message === "string" ? message : JSON.stringify(message));
