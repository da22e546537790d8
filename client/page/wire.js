/** A WebSocket that shows every frame, in both directions, before anybody else sees it. */

/** Return a class to be used in place of WebSocket; `log(isSent, text)` gets the frames. */
export const loggingWebSocket = (log) =>
  class extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      // Called before `onmessage`, which is set later.
      this.addEventListener("message", ({ data }) => log(false, data));
    }

    send(data) {
      log(true, data);
      super.send(data);
    }
  };

/** Return the events in a frame that came, and whether they came live. */
export const eventsIn = (text) => {
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return { isLive: false, events: [] };
  }
  if (frame?.type === "Entity Updated") return { isLive: true, events: [frame] };
  const answers = [frame, ...(frame?.entities ?? [])];
  return { isLive: false, events: answers.flatMap((answer) => answer?.events ?? []) };
};
