/**
 * Where the clients have their tokens from.
 *
 * A token is in this page's memory and on its way to the service, and nowhere else: what is shown are
 * its claims, and `wire.js` leaves it out of the frames.
 */

import { UnauthorizedError } from "/notifications-client.js";
import * as api from "./api.js";

/** Return what a token says; undefined if it is none. */
export const claimsOf = (token) => {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? claims : undefined;
  } catch {
    return undefined;
  }
};

/** A new token for each attempt, and in time before the last one ends. */
export class Minted {
  #wish;

  constructor(wish) {
    this.#wish = wish;
  }

  get user() {
    return this.#wish.user;
  }

  async next() {
    try {
      return await api.token(this.#wish);
    } catch (error) {
      // What no token can say now, none can say later.
      throw error.status === 400 ? new UnauthorizedError(error.message) : error;
    }
  }

  refused() {}
}

/** One token for as long as it is good, and none after it. */
export class Kept {
  #token;
  #advice;
  #isRefused = false;

  constructor(token, advice) {
    this.#token = token;
    this.#advice = advice;
  }

  get user() {
    return claimsOf(this.#token)?.sub;
  }

  async next(reason) {
    if (reason === "authenticate") return undefined;
    const problem = this.#problem();
    if (problem) throw new UnauthorizedError(`${problem} ${this.#advice}`);
    return this.#token;
  }

  /** A browser does not say why a handshake failed: once is enough. */
  refused() {
    this.#isRefused = true;
  }

  #problem() {
    if (!this.#token) return "There is no token.";
    const claims = claimsOf(this.#token);
    if (!claims) return "This is no JWT.";
    if (claims.exp * 1000 <= Date.now()) return "The token has ended, and nobody renews it.";
    return this.#isRefused ? "It was not let in with this token." : undefined;
  }
}
