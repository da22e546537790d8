/** What a handler is given: the frame as it came. */
export interface NotificationEvent<Data = unknown> {
  type: "Entity Updated";
  entityId: string;
  /** As the publisher wrote it; absent if he did not. */
  message?: unknown;
  /** As the publisher wrote it; absent if he did not. */
  data?: Data;
  /** The same for a repeated frame. */
  id: string;
  /** When it was published, ISO 8601. */
  time: string;
  /** `<epoch>-<number>`, for `since`. */
  cursor: string;
}

/** What was pushed to the user: the frame as it came. */
export interface UserNotification<Data = unknown> {
  type: "User Push Notification";
  message?: unknown;
  /** As the publisher wrote it; absent if he did not. */
  callback?: unknown;
  /** As the publisher wrote it; absent if he did not. */
  data?: Data;
  /** The same for a repeated frame. */
  id: string;
  /** When it was published, ISO 8601. */
  time: string;
  /** `<epoch>-<number>`, for `since`. */
  cursor: string;
}

/** What could not be brought any more: everything after `from`, up to and with `to`. */
export interface Gap {
  from: string;
  to: string;
}

/** Why a subscription ended, such as `Forbidden` or `TooManySubscriptions`. */
export interface SubscriptionError {
  code: string;
  message: string;
}

export interface StateChange {
  state: State;
  /** A WebSocket close code, the code of a `Disconnect` frame, or one of docs/clients.md. */
  code?: number | string;
  reason?: string;
  willRetry?: boolean;
  /** Until the next attempt; undefined if that waits until the page is visible. */
  delayMs?: number;
}

export type State = "connecting" | "connected" | "disconnected" | "closed";

export interface SubscriptionEvents {
  gap: Gap;
  /** The subscription is refused, or not covered by a new token's grants, and over. */
  error: SubscriptionError;
  /** Nothing is missing now, up to `cursor`: after subscribing, and after each reconnection. */
  subscribed: { cursor: string; recovered: boolean };
}

export interface ClientEvents {
  state: StateChange;
}

export interface Subscription {
  readonly entityId: string;
  /** Up to here the handler has been given everything: store it, and come back with it as `since`. */
  readonly cursor: string | undefined;
  /** End it: the handler is not called any more. */
  unsubscribe(): void;
  /** Call `handler` on an event; the returned function ends that. */
  on<Type extends keyof SubscriptionEvents>(
    type: Type,
    handler: (event: SubscriptionEvents[Type]) => unknown,
  ): () => void;
}

/** A subscription to the user's own: the same, without an entity. */
export type UserSubscription = Omit<Subscription, "entityId">;

/** The part of a WebSocket that is used, such as that of browsers and of the package ws. */
export interface WebSocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
  terminate?(): void;
}

/** All times in milliseconds. */
export interface ClientOptions {
  /**
   * Called once for each attempt, so give it a time limit of its own, and at four fifths of a JWT's
   * life, to renew it. Throw `UnauthorizedError` if there is no token to be had: the client closes.
   * Any other error is tried again.
   *
   * `reason` is "connect", "reconnect", "rotate", "authenticate", or a code with which the service
   * ended the connection, such as "TokenExpired": a token that was kept is of no use then.
   */
  getToken?: (attempt: { reason: string }) => string | undefined | Promise<string | undefined>;
  /** Needed where there is no global one, such as Node 20: that of the package ws. */
  WebSocket?: new (url: string, protocols: string[]) => WebSocketLike;
  /** From opening a WebSocket to its being open; 10,000. */
  connectTimeoutMs?: number;
  /** From a request to its reply; 5,000. */
  replyTimeoutMs?: number;
  /** From a ping to its pong; 5,000. */
  pongTimeoutMs?: number;
  /** Of silence, until a ping; 480,000. */
  pingIntervalMs?: number;
  /** Bounds of the random age at which a connection is replaced; 6,300,000 to 6,900,000. */
  rotateAfterMs?: [number, number];
  /** The shortest time to the next attempt; 500. */
  minReconnectDelayMs?: number;
  /** The longest time to the next attempt; 20,000. */
  maxReconnectDelayMs?: number;
  /** A connection that was open for so long makes the times short again; 5,000. */
  stableAfterMs?: number;
  /** What an event waits for its turn, until the missing ones are asked for; 2,000. */
  holdMs?: number;
  /**
   * Reads a frame; `JSON.parse`, for which a number is a double. Another one may keep all digits of what publishers
   * wrote. Cursors, ids and times are texts, whatever reads them.
   */
  parse?: (text: string) => any;
}

/** Thrown by `getToken` when there is no token to be had: the client closes. */
export class UnauthorizedError extends Error {}

/** A connection to the service, that is opened at once and kept for good. */
export class NotificationsClient {
  /** `url` begins with wss:// (or ws://, on one's own machine). */
  constructor(url: string, options?: ClientOptions);
  readonly state: State;
  /**
   * Call `handler` with each event of an entity, once and in order.
   *
   * `since` is a cursor, to begin after it; "last", for the last event too; or undefined, to begin
   * with what comes from now on.
   */
  subscribe<Data = unknown>(
    entityId: string,
    handler: (event: NotificationEvent<Data>) => unknown,
    options?: { since?: string },
  ): Subscription;
  /** The same with what is pushed to the user whose token it is. */
  subscribeUser<Data = unknown>(
    handler: (notification: UserNotification<Data>) => unknown,
    options?: { since?: string },
  ): UserSubscription;
  /** Call `handler` on an event; the returned function ends that. */
  on<Type extends keyof ClientEvents>(
    type: Type,
    handler: (event: ClientEvents[Type]) => unknown,
  ): () => void;
  /** Replace the connection by a new one, without a pause; it does so by itself in time. */
  rotate(): void;
  /** End it all, for good: no timer and no listener is left. */
  close(): void;
}
