/** Who a client is: its user, the claims of its token, and what becomes of both. */

import * as api from "./api.js";
import { make, setText } from "./dom.js";
import { claimsOf, Kept, Minted } from "./tokens.js";

const BRIEF_SECONDS = 6;
const NAMES = {
  sub: "User",
  entities: "May hear",
  iat: "Issued",
  exp: "Ends",
  iss: "Issuer",
  aud: "Audience",
};

export class Identity {
  #parts;
  #authentication;
  #restart;
  #say;
  // What the own issuer is asked for, and where the tokens are from at the moment.
  #wish;
  #source;
  // The last one that was handed out.
  #token;
  #shown;

  /**
   * @param parts the elements of the panel, by name
   * @param authentication the issuer, and whether this page has tokens of it
   * @param wish what a token says at first: user, entities and minutes
   * @param restart has the client replaced by one with another token
   * @param say says what happens
   */
  constructor(parts, authentication, wish, { restart, say }) {
    this.#parts = parts;
    this.#authentication = authentication;
    this.#wish = wish;
    this.#restart = restart;
    this.#say = say;
    this.#build();
    this.again();
    setInterval(() => this.#showLeft(), 500);
  }

  /** Whose tokens the next client gets, as far as that is known before. */
  get user() {
    return this.#source.user;
  }

  /** What to do after a kick. */
  get farewell() {
    const way = this.#authentication.isOwn
      ? "“Connect” comes back with a new token; the one that it had opens only if it was not revoked."
      : "“Connect” tries its token again, which opens only if it was not revoked.";
    return `Kicked: all connections of this user were ended, and told not to come back by themselves. ${way}`;
  }

  /** Return what gives one client its tokens. */
  tokens() {
    const source = this.#source;
    return async ({ reason }) => {
      const token = await source.next(reason);
      // Another client may have taken its place meanwhile.
      if (token && source === this.#source) {
        this.#token = token;
        this.#show(claimsOf(token));
      }
      return token;
    };
  }

  /** A handshake failed: perhaps for the sake of the token. */
  refused() {
    this.#source.refused();
  }

  /** Begin once more: with new tokens, if there are any, or else with the one that was pasted. */
  again() {
    this.#source = this.#authentication.isOwn
      ? new Minted(this.#wish)
      : this.#kept(this.#token);
  }

  #kept(token) {
    const { isOwn, issuer, audience } = this.#authentication;
    const advice = isOwn
      ? "Press “Connect” for a new one, or choose another user."
      : `Paste one of ${issuer} for ${audience} that is good now.`;
    return new Kept(token, advice);
  }

  #use(source) {
    this.#source = source;
    this.#restart();
  }

  #build() {
    const { identity, choice, paste, users } = this.#parts;
    const { isOwn, issuer, audience } = this.#authentication;
    identity.hidden = false;
    choice.hidden = !isOwn;
    paste.hidden = isOwn;
    for (const button of users.querySelectorAll("[data-own]")) button.hidden = !isOwn;
    const { user, entities, minutes } = choice.elements;
    user.value = this.#wish.user;
    entities.value = this.#wish.entities.join(" ");
    minutes.value = String(this.#wish.minutes);
    choice.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#wish = {
        user: user.value,
        entities: entities.value.split(/\s+/).filter(Boolean),
        minutes: Number(minutes.value),
      };
      this.#use(new Minted(this.#wish));
    });
    setText(this.#parts["paste-label"], `Token of ${issuer} for ${audience}`);
    paste.addEventListener("submit", (event) => {
      event.preventDefault();
      const { token } = paste.elements;
      this.#token = token.value.trim();
      // So that it is nowhere in the document.
      token.value = "";
      this.#show(claimsOf(this.#token));
      this.#use(this.#kept(this.#token));
    });
    users.addEventListener("click", async ({ target }) => {
      const action = target.closest("[data-user]")?.dataset.user;
      if (!action) return;
      try {
        await this.#do(action, this.#shown?.sub);
      } catch ({ message }) {
        this.#say(message, true);
      }
    });
  }

  async #do(action, user) {
    if (action === "expire") {
      const { entities } = this.#wish;
      const token = await api.token({ user: this.#wish.user, entities, seconds: BRIEF_SECONDS });
      this.#say(
        `A token of ${BRIEF_SECONDS} seconds, and none after it. When it has ended, nothing is heard any more; the client is told within a minute or so, or as soon as it asks for something.`,
      );
      return this.#use(this.#kept(token));
    }
    if (action === "old") {
      if (!this.#token) throw new Error("It has had no token yet.");
      this.#say("With the token that it had. Whoever is revoked is not let in with it.");
      return this.#use(this.#kept(this.#token));
    }
    if (user === undefined) throw new Error("It has no token, and so no user.");
    // Said before: the client may be gone before the answer is here.
    if (action === "push") {
      this.#say(`Pushed to ${user}: a client of that user gets it, whatever it has subscribed to.`);
      return api.push(user, `Hello, ${user}`);
    }
    const isRevoked = action === "revoke";
    const tokens = isRevoked ? ", and tokens issued until now are refused" : "";
    this.#say(`All connections of ${user} are being ended${tokens}.`);
    return api.kick(user, isRevoked);
  }

  #show(claims) {
    this.#shown = claims;
    const { sub, entities, iat, exp, iss, aud, ...others } = claims ?? {};
    const known = { sub, entities, iat, exp, iss, aud, ...others };
    const { claims: list } = this.#parts;
    list.hidden = claims === undefined;
    list.replaceChildren(
      ...Object.entries(known)
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => {
          const said = make("dd", {}, text(name, value));
          if (name === "exp") said.append(" ", make("span", { className: "verdict" }));
          const claim = make("div", {}, make("dt", { title: name }, NAMES[name] ?? name), said);
          claim.dataset.claim = name;
          return claim;
        }),
    );
    this.#showLeft();
  }

  #showLeft() {
    const end = this.#parts.claims.querySelector("[data-claim=exp]");
    if (!end || !Number.isFinite(this.#shown.exp)) return;
    const seconds = Math.round(this.#shown.exp - Date.now() / 1000);
    end.dataset.verdict = seconds > 0 ? "right" : "wrong";
    setText(
      end.querySelector(".verdict"),
      seconds > 0 ? `${duration(seconds)} left` : `✕ ended ${duration(-seconds)} ago`,
    );
  }
}

const duration = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

const text = (name, value) => {
  if (["iat", "exp", "nbf"].includes(name) && Number.isFinite(value)) {
    return new Date(value * 1000).toLocaleTimeString();
  }
  if (Array.isArray(value)) return value.join(" ") || "nothing";
  return typeof value === "string" ? value : JSON.stringify(value);
};
