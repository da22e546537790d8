/** A WebSocket that shows every frame, in both directions, before anybody else sees it. */

const LIVE = ["Entity Updated", "User Push Notification"];

/** Return a class to be used in place of WebSocket; `log(isSent, text)` gets the frames. */
export const loggingWebSocket = (log) =>
  class extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      // Called before `onmessage`, which is set later.
      this.addEventListener("message", ({ data }) => log(false, data));
    }

    send(data) {
      log(true, withoutToken(data));
      super.send(data);
    }
  };

/** A token is for the service alone. */
const withoutToken = (text) => {
  const frame = JSON.parse(text);
  return frame.token === undefined ? text : JSON.stringify({ ...frame, token: "…" });
};

/** Return the events in a frame that came, and whether they came live. */
export const eventsIn = (text) => {
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return { isLive: false, events: [] };
  }
  if (LIVE.includes(frame?.type)) return { isLive: true, events: [frame] };
  const answers = [frame, ...(frame?.entities ?? [])];
  return { isLive: false, events: answers.flatMap((answer) => answer?.events ?? []) };
};
