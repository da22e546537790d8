/** What there is to copy, with the addresses of this run. */

import { byId, make, say } from "./dom.js";

const javascript = (uri, entityId, options) => `import { NotificationsClient } from "./client/js/notifications-client.js";

const client = new NotificationsClient("${uri}"${options});
client.subscribe("${entityId}", (event) => console.log(event));`;

const python = (uri, entityId, options) => `import asyncio${options && "\nimport os"}
from notifications_client import NotificationsClient

async def main():
    async with NotificationsClient("${uri}"${options}) as client:
        async for event in client.subscribe("${entityId}"):
            print(event)

asyncio.run(main())`;

// A program of its own would fetch a new one for each attempt.
const JAVASCRIPT_TOKEN = ", { getToken: () => process.env.TOKEN }";
const PYTHON_TOKEN = ', get_token=lambda reason: os.environ["TOKEN"]';

export const showSnippets = ({ websocketUri, wscat, putEvents, authentication }, entityId) => {
  const fetched = authentication?.isOwn ? "$(make -s token)" : "…";
  const also = authentication ? `, TOKEN=${fetched}` : "";
  const ifAsked = (option) => (authentication ? option : "");
  const snippets = [
    ["Connect with wscat", wscat],
    ["Publish, from this project's folder", putEvents],
    [`JavaScript, in this project's folder${also}`, javascript(websocketUri, entityId, ifAsked(JAVASCRIPT_TOKEN))],
    [`Python, with PYTHONPATH=client/python${also}`, python(websocketUri, entityId, ifAsked(PYTHON_TOKEN))],
  ];
  byId("snippets").replaceChildren(
    ...snippets.map(([label, text]) => {
      const button = make("button", { type: "button" }, "Copy");
      button.setAttribute("aria-label", `Copy: ${label}`);
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
          say(byId("copy-said"), `Copied: ${label}.`);
        } catch {
          say(byId("copy-said"), "The browser does not let this page copy; select the text.", true);
        }
      });
      const code = make("pre", { tabIndex: 0 }, make("code", {}, text));
      code.setAttribute("role", "region");
      code.setAttribute("aria-label", label);
      return make(
        "div",
        { className: "snippet" },
        make("div", { className: "title" }, make("h3", {}, label), button),
        code,
      );
    }),
  );
};
