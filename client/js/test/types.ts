// Compiled, not run: the types say what the module does, and refuse what it does not.

import { WebSocket } from "ws";

import {
  NotificationsClient,
  UnauthorizedError,
  type Gap,
  type NotificationEvent,
  type StateChange,
  type UserNotification,
  type UserSubscription,
} from "websocket-notifications-client";

const client = new NotificationsClient("wss://example.test/v1", {
  WebSocket,
  rotateAfterMs: [1, 2],
  parse: (text: string) => JSON.parse(text),
  getToken: async ({ reason }) => {
    if (reason === "connect") throw new UnauthorizedError("Sign in.");
    return "token";
  },
});
const withDefaults = new NotificationsClient("wss://example.test/v1");

const subscription = client.subscribe<{ price: number }>(
  "order-17",
  (event) => {
    const price: number | undefined = event.data?.price;
    const whole: NotificationEvent<{ price: number }> = event;
    return [price, whole.cursor.length, event.id, event.time];
  },
  { since: "last" },
);
const cursor: string | undefined = subscription.cursor;
const off: () => void = subscription.on("gap", (gap: Gap) => gap.from + gap.to);
subscription.on("error", ({ code, message }) => code + message);
subscription.on("subscribed", ({ recovered }) => !recovered);
client.on("state", (change: StateChange) => change.delayMs ?? 0);
off();
subscription.unsubscribe();
const own: UserSubscription = client.subscribeUser<{ price: number }>(
  (notification: UserNotification<{ price: number }>) => [
    notification.callback,
    notification.data?.price,
    notification.cursor.length,
  ],
  { since: cursor },
);
own.on("gap", ({ from }) => from);
own.unsubscribe();
client.rotate();
client.close();
withDefaults.close();
console.log(cursor, client.state === "closed");

// @ts-expect-error an entity has a name
client.subscribe(17, () => {});
// @ts-expect-error a user has no name here
own.entityId;
// @ts-expect-error there is no such event
client.on("message", () => {});
// @ts-expect-error a pair
new NotificationsClient("wss://example.test/v1", { rotateAfterMs: 7 });
// @ts-expect-error only the client says where it is
subscription.cursor = "x";
