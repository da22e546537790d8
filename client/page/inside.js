/** What is inside the stack: queues, connections, dead letters and the table. */

import { byId, make, setText } from "./dom.js";

const QUEUES = { notifications: "notifications", deliveries: "deliveries (tried again, or many)" };
const EXPLAINED = {
  connections: "one for each open connection",
  subscriptions: "who asked for which entity",
  heads: "the last number of each entity's log",
  events: "the log: kept for those who come back",
  jobs: "the ledger: which work is done",
  others: "",
};

/** Show a reading, and what of it is this page's own. */
export const showInside = ({ queues, connections, letters, table }, names) => {
  byId("queues").tBodies[0].replaceChildren(
    ...Object.entries(QUEUES).map(([name, label]) => {
      const { waiting, inFlight, delayed } = queues[name];
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, label),
        ...[waiting, inFlight, delayed].map((count) =>
          make("td", { className: "number" }, String(count)),
        ),
      );
    }),
  );
  showConnections(connections, names);
  showLetters(letters);
  for (const each of table.kinds) showKind(each, table.isWhole);
};

const showConnections = (connections, names) => {
  setText(byId("connections-count"), String(connections.length));
  byId("connections").tBodies[0].replaceChildren(
    ...connections
      .slice(-20)
      .map(({ id, name, connectedAt, frozen }) =>
        make(
          "tr",
          {},
          make("td", {}, name ?? "–", names.includes(name) ? " (here)" : ""),
          make("td", {}, make("code", {}, id)),
          make("td", {}, new Date(connectedAt).toLocaleTimeString()),
          make("td", {}, frozen ? "frozen" : "open"),
        ),
      ),
  );
};

const showLetters = ({ total, some }) => {
  setText(byId("letters-count"), String(total));
  byId("redrive").disabled = total === 0;
  const list = byId("letters");
  const open = new Set([...list.querySelectorAll("details[open]")].map(({ id }) => id));
  const shown = [...list.children].map(({ dataset }) => dataset.letter);
  if (JSON.stringify(shown) === JSON.stringify(some.map(({ id }) => id))) return;
  list.replaceChildren(
    ...some.map(({ id, queue, errorCode, reason, body }) => {
      const details = make(
        "details",
        { id: `letter-${id}`, open: open.has(`letter-${id}`) },
        make(
          "summary",
          {},
          make("b", {}, errorCode ?? "failed too often"),
          ` ${reason ?? ""} `,
          make("span", { className: "hint" }, queue),
        ),
        make("pre", {}, body),
      );
      const item = make("li", {}, details);
      item.dataset.letter = id;
      return item;
    }),
  );
};

const showKind = ({ kind, total, newest }, isWhole) => {
  const details = byId(`kind-${kind}`) ?? addKind(kind);
  setText(details.querySelector(".count"), `${total}${isWhole ? "" : " or more"}`);
  if (!details.open) return;
  const text = newest.map(described).join("\n");
  setText(details.querySelector("pre"), text || "none");
};

const addKind = (kind) => {
  const details = make(
    "details",
    { id: `kind-${kind}`, open: kind === "subscriptions" },
    make(
      "summary",
      {},
      make("b", {}, kind),
      " ",
      make("span", { className: "count" }),
      make("span", { className: "hint" }, EXPLAINED[kind]),
    ),
    make("pre", { tabIndex: 0 }),
  );
  details.querySelector("pre").setAttribute("aria-label", `Newest ${kind} in the table`);
  details.querySelector("pre").setAttribute("role", "region");
  byId("kinds").append(details);
  return details;
};

const described = ({ pk, sk, ...attributes }) => {
  const rest = Object.entries(attributes).map(([name, value]) => `  ${name}: ${value}`);
  return [`${pk}  ${sk}`, ...rest].join("\n");
};
