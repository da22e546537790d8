/** Put the page together: what is published, the trouble, the two clients, and what is inside. */

import * as api from "./api.js";
import { ClientPanel } from "./client-panel.js";
import { byId, make, oncePerFrame, say, setText } from "./dom.js";
import { showInside } from "./inside.js";
import { showSnippets } from "./snippets.js";

// The entity of events/entity-updated.json, so that the printed command is seen here.
const SHARED = "myTestEntityId";
const DEFAULTS = { left: [SHARED, "order-1"], right: [SHARED, "order-2"] };
// Where tokens are asked for.
const USERS = { left: "alice", right: "bob" };
const MINUTES = 60;
const POLL_MS = 1_000;

const problem = byId("problem");
const showProblem = (message) => {
  setText(problem, message);
  problem.hidden = !message;
};
const configuration = await api.configuration().catch((error) => {
  showProblem(error.message);
  throw error;
});
const tag = Math.random().toString(36).slice(2, 8);
const { authentication } = configuration;
const panels = Object.entries(DEFAULTS).map(([label, entities]) => {
  const user = USERS[label];
  const wish = { user, entities: [...entities, `${user}/*`], minutes: MINUTES };
  const panel = new ClientPanel(label, configuration.websocketUri, tag, authentication, wish);
  for (const entityId of entities) panel.subscribe(entityId);
  return panel;
});
let published = 0;
let publishing = 0;
let faults = {};
// So that a reading which began before a change does not undo it on the page.
let faultChanges = 0;

const showEntities = () => {
  const known = [...new Set(panels.flatMap(({ entities }) => entities))];
  const list = byId("entities");
  const shown = [...list.children].map(({ value }) => value);
  if (JSON.stringify(shown) !== JSON.stringify(known)) {
    list.replaceChildren(...known.map((value) => make("option", { value })));
  }
  flow("received", `${panels.reduce((total, { received }) => total + received, 0)} received`);
};
const flow = (name, text) => setText(document.querySelector(`[data-flow=${name}]`), text);
for (const panel of panels) panel.onChange = oncePerFrame(showEntities);
showEntities();
for (const form of [byId("publish"), byId("trim")]) form.elements.entityId.value = SHARED;
byId("publish").elements.count.max = configuration.maxEvents;
showSnippets(configuration, SHARED);
setText(
  byId("access"),
  authentication
    ? `Clients need a token of ${authentication.issuer} for ${authentication.audience}.`
    : "Without authentication: anybody who knows the address hears everything. To ask for tokens: make local AUTH=jwt",
);
byId("identity-step").hidden = !authentication;

/** Do something, and say what became of it. */
const attempt = async (said, work) => {
  try {
    say(said, await work());
  } catch ({ message }) {
    say(said, message, true);
  }
};

byId("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  const { entityId, message, count } = event.target.elements;
  const number = event.submitter?.value === "burst" ? Number(count.value) : 1;
  // Those for whom it counts are those who are subscribed before it is published.
  const counting = panels.map((panel) => panel.counting(entityId.value)).filter(Boolean);
  attempt(byId("publish-said"), async () => {
    publishing += 1;
    try {
      const { ids } = await api.publish(entityId.value, message.value, number);
      for (const count of counting) count(ids);
      flow("published", `${(published += ids.length)} published`);
      return `${ids.length} published to ${entityId.value}, for ${counting.length} of the two clients.`;
    } finally {
      publishing -= 1;
    }
  });
});

byId("poison").addEventListener("click", () =>
  attempt(byId("publish-said"), async () => {
    await api.publishPoison();
    return "A poison event is published: look for it among the dead letters.";
  }),
);

byId("redrive").addEventListener("click", () =>
  attempt(byId("redrive-said"), async () => {
    const { redriven } = await api.redrive();
    return `${redriven} sent back to where they failed. What is not mended comes back.`;
  }),
);

byId("trim").addEventListener("submit", (event) => {
  event.preventDefault();
  const entityId = event.target.elements.entityId.value;
  attempt(byId("trouble-said"), async () => {
    const { deleted } = await api.trim(entityId);
    return `${deleted} events of ${entityId} are kept no longer. A client that missed them is told of a gap.`;
  });
});

byId("lose").addEventListener("click", () =>
  attempt(byId("trouble-said"), async () => {
    showFaults(await api.changeFaults({ loseNextDisconnects: (faults.loseNextDisconnects ?? 0) + 1 }));
    return "The next $disconnect is lost: cut a client, and its rows stay until a post is answered with 410.";
  }),
);

byId("calm").addEventListener("click", () =>
  attempt(byId("trouble-said"), async () => {
    const zeros = Object.keys(faults).filter((name) => name !== "stallSeconds");
    showFaults(await api.changeFaults(Object.fromEntries(zeros.map((name) => [name, 0]))));
    return "All is calm.";
  }),
);

const sliders = [...document.querySelectorAll("[data-fault]")];
const showShare = (slider) => setText(slider.nextElementSibling, `${slider.value} %`);
for (const slider of sliders) {
  slider.addEventListener("input", () => showShare(slider));
  slider.addEventListener("change", () =>
    attempt(byId("trouble-said"), async () => {
      try {
        showFaults(await api.changeFaults({ [slider.dataset.fault]: slider.value / 100 }));
        return "";
      } catch (error) {
        showFaults(faults, true);
        throw error;
      }
    }),
  );
}

const WORDS = {
  429: (share) => `${percent(share)} answered 429`,
  "5xx": (share) => `${percent(share)} answered 5xx`,
  410: (share) => `${percent(share)} answered 410`,
  reset: (share) => `${percent(share)} reset`,
  stall: (share) => `${percent(share)} held`,
  duplicate: (share) => `${percent(share)} sent twice`,
  latencyMs: (time) => `${time} ms added`,
  loseDisconnect: (share) => `${percent(share)} of $disconnect lost`,
  loseNextDisconnects: (count) => `next ${count > 1 ? `${count} ` : ""}$disconnect lost`,
};
const percent = (share) => `${Math.round(share * 100)} %`;

/** Show the faults as they are; a slider that somebody holds is left alone. */
const showFaults = (current, isForced = true) => {
  faults = current;
  faultChanges += isForced ? 1 : 0;
  for (const slider of sliders) {
    if (!isForced && slider === document.activeElement) continue;
    slider.value = Math.round((current[slider.dataset.fault] ?? 0) * 100);
    showShare(slider);
  }
  const active = Object.entries(WORDS).filter(([name]) => current[name] > 0);
  const pill = byId("faults-active");
  pill.classList.toggle("active", active.length > 0);
  setText(pill, active.map(([name, words]) => words(current[name])).join(", ") || "all calm");
};

const look = async () => {
  const before = faultChanges;
  const seen = await api.inside();
  if (faultChanges === before) showFaults(seen.faults, false);
  showInside(
    seen,
    panels.map(({ name }) => name),
  );
  const depths = Object.values(seen.queues).flatMap((queue) => Object.values(queue));
  const queued = depths.reduce((total, depth) => total + depth, 0);
  for (const panel of panels) panel.isBusy = queued > 0 || publishing > 0;
  const items = seen.table.kinds.reduce((total, kind) => total + kind.total, 0);
  flow("notifications", queued ? `${queued} on the way` : "empty");
  flow("items", `${items} items`);
  const { length } = seen.connections;
  flow("connections", `${length} connection${length === 1 ? "" : "s"}`);
  setText(byId("inside-when"), `as of ${new Date().toLocaleTimeString()}`);
};

const poll = async () => {
  if (document.visibilityState === "visible") {
    try {
      await look();
      showProblem("");
    } catch ({ message }) {
      showProblem(message);
    }
  }
  setTimeout(poll, POLL_MS);
};
poll();
