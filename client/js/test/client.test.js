import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";

import { NotificationsClient, UnauthorizedError } from "../notifications-client.js";
import { at, event, jwt, notification, numbers, settle, World } from "./world.js";

const MINUTE = 60_000;
const OTHER = "0123456789ab";
let world;
beforeEach(() => (world = new World()));
afterEach(() => world.end());

/** A client that is connected and has one entity, at number 0. */
async function following(options) {
  const client = await world.connected(options);
  const seen = [];
  const subscription = client.subscribe("order-17", (each) => seen.push(each));
  await settle();
  await world.socket.subscribed(at(0));
  return { client, subscription, seen, socket: world.socket };
}

describe("a subscription", () => {
  it("is given events as they came, and offers the walkthrough's subprotocol", async () => {
    const { seen, socket, subscription } = await following();
    const frame = { ...event(1), message: "", data: { deep: [null, { a: "ß🚀" }] }, more: 1 };
    world.isBent = true;

    await socket.says(frame);

    assert.deepEqual(seen, [frame]);
    assert.deepEqual(socket.protocols, ["websocket"]);
    assert.deepEqual(socket.requests[0].entities, [{ entityId: "order-17" }]);
    assert.equal(subscription.cursor, at(1));
  });

  it("is given the numbers that `parse` makes of what came", async () => {
    const parse = (text) => JSON.parse(text.replace(/12345678901234567890/, '"$&"'));
    const { seen, socket } = await following({ parse });
    const text = JSON.stringify({ ...event(1), data: "?" }).replace('"?"', "12345678901234567890");

    socket.onmessage({ data: text });
    await settle();

    assert.equal(seen[0].data, "12345678901234567890");
  });

  it("hands on each event once and in order, however frames overtake each other", async () => {
    const { seen, socket } = await following();

    await socket.says(event(2), event(1), event(1), event(2), event(4), event(3), event(4));

    assert.deepEqual(numbers(seen), [1, 2, 3, 4]);
    await world.passes(3_000);
    assert.equal(socket.requests.length, 1, "nothing is missing, so nothing is asked for");
  });

  it("keeps what comes before the reply", async () => {
    const client = await world.connected();
    const seen = [];
    const subscription = client.subscribe("order-17", (each) => seen.push(each));
    await settle();

    await world.socket.says(event(3), event(4));
    assert.deepEqual(seen, []);
    const where = [];
    subscription.on("subscribed", (each) => where.push(each));
    await world.socket.subscribed(at(3));
    assert.deepEqual(where, [{ cursor: at(4), recovered: true }]);

    assert.deepEqual(numbers(seen), [4]);
  });

  it("asks after two seconds for what is missing, from where nothing is", async () => {
    const { seen, socket } = await following();

    await socket.says(event(1), event(3));
    await world.passes(1_900);
    assert.equal(socket.requests.length, 1);
    await world.passes(200);
    const { requestId, ...asked } = socket.last;
    assert.deepEqual(asked, { action: "history", entityId: "order-17", since: at(1) });
    await socket.answers({ type: "History", recovered: true, events: [event(2), event(3)], cursor: at(3) });

    assert.deepEqual(numbers(seen), [1, 2, 3]);
  });

  it("asks at once when a hundred wait, and keeps no more", async () => {
    const { seen, socket } = await following();

    for (let number = 2; number <= 150; number++) await socket.says(event(number));
    assert.equal(socket.last.action, "history");
    const events = Array.from({ length: 100 }, (_, index) => event(index + 1));
    await socket.answers({ type: "History", recovered: true, events, cursor: at(100), more: true });
    assert.deepEqual([socket.last.action, socket.last.since], ["history", at(101)]);
    const rest = Array.from({ length: 49 }, (_, index) => event(index + 102));
    await socket.answers({ type: "History", recovered: true, events: rest, cursor: at(150) });

    assert.deepEqual(numbers(seen), Array.from({ length: 150 }, (_, index) => index + 1));
    await world.passes(10_000);
    assert.equal(socket.requests.length, 3);
  });

  it("begins after a cursor, or with the last event", async () => {
    const client = await world.connected();
    const seen = { cursor: [], last: [], none: [] };
    client.subscribe("a", (each) => seen.cursor.push(each), { since: at(5) });
    client.subscribe("b", (each) => seen.last.push(each), { since: "last" });
    client.subscribe("c", (each) => seen.none.push(each), { since: "last" });
    await settle();
    assert.deepEqual(world.socket.last.entities, [
      { entityId: "a", since: at(5) },
      { entityId: "b", since: "last" },
      { entityId: "c", since: "last" },
    ]);

    const events = [6, 7].map((number) => event(number, { entityId: "a" }));
    await world.socket.subscribed(
      { recovered: true, events, cursor: at(7) },
      { recovered: true, events: [event(9, { entityId: "b" })], cursor: at(9) },
      { recovered: true, events: [], cursor: at(0) },
    );
    await world.socket.says(
      ...["a", "b", "c"].map((entityId, index) => event([8, 10, 1][index], { entityId })),
    );

    assert.deepEqual(
      Object.values(seen).map(numbers),
      [[6, 7, 8], [9, 10], [1]],
    );
  });

  it("comes back with the position, not with the newest that was seen", async () => {
    const { seen, socket } = await following();
    await socket.says(event(1), event(3));

    await socket.ends();
    await world.passes(1_000);
    await world.socket.opens();
    assert.deepEqual(world.socket.last.entities, [{ entityId: "order-17", since: at(1) }]);
    await world.socket.subscribed({ recovered: true, events: [2, 3, 4].map((n) => event(n)), cursor: at(4) });

    assert.deepEqual(numbers(seen), [1, 2, 3, 4]);
  });

  it("says what cannot be brought any more, and hands on what it heard all the same", async () => {
    const { seen, socket, subscription } = await following();
    const gaps = [];
    subscription.on("gap", (gap) => gaps.push([gap, numbers(seen)]));

    await socket.says(event(1), event(4), event(5), event(8));
    await world.passes(2_000);
    await socket.answers({ type: "History", recovered: false, events: [], cursor: at(9) });
    await socket.says(event(10));

    assert.deepEqual(numbers(seen), [1, 4, 5, 8, 10]);
    assert.deepEqual(gaps, [
      [{ from: at(1), to: at(3) }, [1]],
      [{ from: at(5), to: at(7) }, [1, 4, 5]],
      [{ from: at(8), to: at(9) }, [1, 4, 5, 8]],
    ]);
  });

  it("goes on in another epoch after a gap", async () => {
    const { seen, socket, subscription } = await following();
    const gaps = [];
    subscription.on("gap", (gap) => gaps.push(gap));
    const where = [];
    subscription.on("subscribed", (each) => where.push(each));

    await socket.says(event(1), event(3, { epoch: OTHER }));
    await world.passes(2_000);
    await socket.answers({ type: "History", recovered: false, events: [], cursor: at(3, OTHER) });
    await socket.says(event(4, { epoch: OTHER }));

    assert.deepEqual(gaps, [{ from: at(1), to: at(2, OTHER) }]);
    assert.deepEqual(where, [{ cursor: at(3, OTHER), recovered: false }]);
    assert.deepEqual(numbers(seen), [1, 3, 4]);
    await world.passes(5_000);
    assert.equal(socket.requests.length, 2);
  });

  it("does not wait for ever for what a log that is no more has left", async () => {
    const { seen, socket } = await following();
    await socket.says(event(7, { epoch: OTHER }));
    await world.passes(2_000);
    await socket.answers({ type: "History", recovered: true, events: [event(1)], cursor: at(1) });
    await world.passes(10_000);
    assert.deepEqual(numbers(seen), [1]);
    assert.equal(socket.requests.length, 2);
  });

  it("goes back with a log that was put back", async () => {
    const { seen, socket, subscription } = await following();
    const gaps = [];
    subscription.on("gap", (gap) => gaps.push(gap));
    for (const number of [1, 2, 3]) await socket.says(event(number));
    await socket.ends();
    await world.passes(1_000);
    await world.socket.opens();
    await world.socket.subscribed({ recovered: false, events: [], cursor: at(1) });
    await world.socket.says(event(2));
    assert.deepEqual([numbers(seen), gaps], [[1, 2, 3, 2], [{ from: at(3), to: at(1) }]]);
  });

  it("asks on where a reply to a further question says that there is more", async () => {
    const { seen, socket } = await following();
    await socket.says(event(4));
    await world.passes(2_000);
    const reply = { type: "History", recovered: true };
    await socket.answers({ ...reply, events: [event(1)], cursor: at(1), more: true });
    assert.equal(socket.last.since, at(1));
    await socket.answers({ ...reply, events: [2, 3, 4, 5].map((n) => event(n)), cursor: at(5) });
    assert.deepEqual(numbers(seen), [1, 2, 3, 4, 5]);
  });

  it("is no gap when what was lost to the history had come meanwhile", async () => {
    const { seen, socket, subscription } = await following();
    subscription.on("gap", () => assert.fail("there is none"));

    await socket.says(event(2));
    await world.passes(2_000);
    await socket.says(event(1), event(3));
    await socket.answers({ type: "History", recovered: false, events: [], cursor: at(3) });

    assert.deepEqual(numbers(seen), [1, 2, 3]);
  });

  it("hands nothing on after it has ended, nor from within", async () => {
    const { client, socket, subscription, seen } = await following();
    const other = [];
    const within = client.subscribe("order-17", (each) => {
      other.push(each);
      within.unsubscribe();
    });

    await socket.says(event(2), event(1));
    subscription.unsubscribe();
    await socket.says(event(3));

    assert.deepEqual([numbers(seen), numbers(other)], [[1, 2], [1]]);
    assert.deepEqual([socket.last.action, socket.last.entityIds], ["unsubscribe", ["order-17"]]);
  });
});

describe("several subscriptions of an entity", () => {
  it("are one on the wire, and each gets every event", async () => {
    const { client, seen, socket } = await following();
    const other = [];
    await socket.says(event(1));
    const second = client.subscribe("order-17", (each) => other.push(each));
    await settle();

    await socket.says(event(2));
    assert.equal(socket.requests.length, 1);
    second.unsubscribe();
    await socket.says(event(3));

    assert.deepEqual([numbers(seen), numbers(other)], [[1, 2, 3], [2]]);
    assert.equal(socket.requests.length, 1);
  });

  it("begin each where the program says", async () => {
    const { client, seen, socket } = await following();
    await socket.says(event(1), event(2), event(3));
    const [last, from] = [[], []];
    client.subscribe("order-17", (each) => last.push(each), { since: "last" });
    client.subscribe("order-17", (each) => from.push(each), { since: at(1) });
    await settle();

    assert.deepEqual([socket.last.action, socket.last.since], ["history", "last"]);
    await socket.answers({ type: "History", recovered: true, events: [event(3)], cursor: at(3) });
    assert.deepEqual([socket.last.action, socket.last.since], ["history", at(1)]);
    await socket.says(event(4));
    const events = [2, 3, 4].map((number) => event(number));
    await socket.answers({ type: "History", recovered: true, events, cursor: at(4) });

    assert.deepEqual([seen, last, from].map(numbers), [[1, 2, 3, 4], [3, 4], [2, 3, 4]]);
    await world.passes(5_000);
    assert.equal(socket.requests.length, 3);
  });

  it("begin each where the program says, also if they begin together", async () => {
    const client = await world.connected();
    const stories = [{}, { since: "last" }, {}, { since: at(0) }].map((options) => {
      const story = [];
      client.subscribe("order-17", (each) => story.push(each), options);
      return story;
    });
    await settle();
    assert.deepEqual(world.socket.last.entities, [{ entityId: "order-17" }]);
    await world.socket.subscribed(at(2));
    for (const [since, events] of [
      ["last", [event(2)]],
      [at(0), [event(1), event(2)]],
    ]) {
      assert.deepEqual([world.socket.last.action, world.socket.last.since], ["history", since]);
      await world.socket.answers({ type: "History", recovered: true, cursor: at(2), events });
    }
    await world.socket.says(event(3));

    assert.deepEqual(stories.map(numbers), [[3], [2, 3], [3], [1, 2, 3]]);
    assert.equal(world.socket.requests.length, 3);
  });

  it("of another epoch are not moved by what is said of this one", async () => {
    const client = await world.connected();
    const gaps = [];
    client.subscribe("a", () => {}, { since: at(2) });
    const stale = client.subscribe("a", () => {}, { since: at(9, OTHER) });
    stale.on("gap", (gap) => gaps.push(gap));
    await settle();
    await world.socket.subscribed({ recovered: true, events: [], cursor: at(2) });
    assert.deepEqual([world.socket.last.since, gaps], [at(9, OTHER), []]);
    await world.socket.answers({ type: "History", recovered: false, events: [], cursor: at(2) });
    assert.deepEqual(gaps, [{ from: at(9, OTHER), to: at(2) }]);
  });

  it("know a gap each for itself", async () => {
    const { client, seen, socket, subscription } = await following();
    const gaps = [];
    subscription.on("gap", (gap) => gaps.push(["first", gap]));
    await socket.says(...[1, 2, 3].map((number) => event(number)));
    const behind = [];
    const second = client.subscribe("order-17", (each) => behind.push(each), { since: at(0) });
    second.on("gap", (gap) => gaps.push(["second", gap]));
    await settle();
    await socket.answers({ type: "History", recovered: false, events: [], cursor: at(4) });
    await socket.says(event(4), event(5));

    assert.deepEqual(gaps, [["second", { from: at(0), to: at(4) }]]);
    assert.deepEqual([numbers(seen), numbers(behind)], [[1, 2, 3, 4, 5], [5]]);
  });
});

describe("requests", () => {
  it("are one at a time, and gather what comes up meanwhile", async () => {
    const client = await world.connected();
    for (const entityId of ["a", "b"]) client.subscribe(entityId, () => {});
    await settle();
    const c = client.subscribe("c", () => {});
    client.subscribe("d", () => {});
    client.subscribe("e", () => {});
    c.unsubscribe();
    await settle();
    const { socket } = world;
    assert.equal(socket.requests.length, 1);

    await socket.subscribed(at(0), at(0));

    const ids = socket.requests.map(({ entities }) => entities.map(({ entityId }) => entityId));
    assert.deepEqual(ids, [["a", "b"], ["d", "e"]]);
  });

  it("about an entity wait for each other", async () => {
    const client = await world.connected();
    const first = client.subscribe("a", () => {});
    await settle();
    first.unsubscribe();
    const seen = [];
    client.subscribe("a", (each) => seen.push(each));
    await settle();
    assert.equal(world.socket.requests.length, 1);
    await world.socket.subscribed(at(0));
    await world.socket.says(event(1, { entityId: "a" }));

    assert.equal(world.socket.requests.length, 1, "it is subscribed to already");
    assert.deepEqual(numbers(seen), [1]);
  });

  it("have at most 99 entities and 32 KB, and all are made", async () => {
    const client = await world.connected();
    // Two UTF-16 units, four bytes each.
    const ids = Array.from({ length: 150 }, (_, index) => `${index}-${"🚀".repeat(200)}`);
    for (const entityId of ids) client.subscribe(entityId, () => {});
    await settle();
    const asked = [];
    while (world.socket.last.action === "subscribe" && asked.length < ids.length) {
      assert.ok(new TextEncoder().encode(world.socket.sent.at(-1)).length <= 32_768);
      asked.push(...world.socket.last.entities.map(({ entityId }) => entityId));
      await world.socket.subscribed(...world.socket.last.entities.map(() => at(0)));
    }
    assert.deepEqual(asked, ids);
    assert.ok(world.socket.requests.length < 8);
  });

  it("about too many leave those that came first", async () => {
    const client = await world.connected();
    const refused = [];
    const ids = Array.from({ length: 10 }, (_, index) => `entity-${index}`);
    for (const entityId of ids) {
      client.subscribe(entityId, () => {}).on("error", ({ code }) => refused.push([entityId, code]));
    }
    const held = new Set();
    for (let turn = 0; turn < 40; turn++) {
      await settle();
      if (world.socket.requests.length <= turn) break;
      const asked = world.socket.last.entities.map(({ entityId }) => entityId);
      if (held.size + asked.length > 4) {
        await world.socket.answers({ type: "Error", code: "TooManySubscriptions", message: "" });
      } else {
        for (const entityId of asked) held.add(entityId);
        await world.socket.subscribed(...asked.map(() => at(0)));
      }
    }

    assert.deepEqual([...held], ids.slice(0, 4));
    assert.deepEqual(refused, ids.slice(4).map((id) => [id, "TooManySubscriptions"]));
    assert.equal(client.state, "connected");
  });

  it("that are refused for one entity end that one, and are not repeated", async () => {
    const client = await world.connected();
    const errors = [];
    client.subscribe("mine", () => {});
    client.subscribe("yours", () => {}).on("error", (error) => errors.push(error));
    await settle();
    await world.socket.subscribed(at(0), { code: "Forbidden", message: "No." });
    assert.deepEqual(errors, [{ code: "Forbidden", message: "No." }]);

    await world.socket.ends();
    await world.passes(1_000);
    await world.socket.opens();
    assert.deepEqual(world.socket.last.entities, [{ entityId: "mine", since: at(0) }]);
  });

  it("with what cannot be meant are not sent", async () => {
    const client = await world.connected();
    const codes = [];
    for (const [entityId, since] of [[""], [7], ["x".repeat(257)], ["a", "first"], ["a", ""]]) {
      client.subscribe(entityId, () => {}, { since }).on("error", ({ code }) => codes.push(code));
    }
    await settle();

    assert.deepEqual(codes, [
      ...Array(3).fill("InvalidEntityId"),
      ...Array(2).fill("InvalidSince"),
    ]);
    assert.deepEqual(world.socket.sent, []);
  });

  for (const answer of [
    { type: "Error", code: "ServiceUnavailable", message: "" },
    { message: "Too Many Requests", connectionId: "abc=", requestId: "xyz=" },
    { message: "Internal server error", connectionId: "abc=", requestId: "xyz=" },
  ]) {
    it(`answered ${answer.code ?? answer.message} are made again, on the same connection`, async () => {
      const { seen, socket } = await following();
      await socket.says(event(2));
      await world.passes(2_000);
      for (const wait of [750, 1_250]) {
        const count = socket.requests.length;
        if (answer.type) await socket.answers(answer);
        else await socket.says(answer);
        await world.passes(wait - 50);
        assert.equal(socket.requests.length, count);
        await world.passes(100);
        assert.equal(socket.requests.length, count + 1);
        assert.deepEqual([socket.last.action, socket.last.since], ["history", at(0)]);
      }
      await socket.answers({ type: "History", recovered: true, events: [event(1)], cursor: at(2) });
      assert.deepEqual(numbers(seen), [1, 2]);
      assert.equal(world.sockets.length, 1);
    });
  }

  it("whose reply makes no sense are made again, and not without end at once", async () => {
    const client = await world.connected();
    client.subscribe("a", () => {});
    await settle();
    world.isBent = true;
    await world.socket.answers({ type: "Subscribed" });
    world.isBent = false;
    assert.equal(world.socket.requests.length, 1);
    await world.passes(1_000);
    assert.equal(world.socket.requests.length, 2);
    await world.socket.subscribed({ cursor: at(3), recovered: true, events: [], more: true });
    await world.socket.answers({ type: "History", recovered: true, events: [], cursor: at(3), more: true });
    const { length } = world.socket.requests;
    await world.passes(400);
    assert.equal(world.socket.requests.length, length);
  });

  it("that the service answers late, or never made, are not mistaken for others", async () => {
    const { socket } = await following();
    world.isBent = true;
    await socket.says({ type: "Pong", requestId: 1 }, { type: "New Thing" }, null, 7, ["x"]);
    socket.onmessage({ data: "not JSON" });
    await settle();
    assert.equal(world.states.at(-1).state, "connected");
  });
});

describe("connections", () => {
  const codes = () => world.states.map(({ state, code }) => (code ? `${state} ${code}` : state));

  it("come again after 0.5 s to a bound that doubles from 1 to 20 s", async () => {
    for (const [random, delays] of [
      [0, [500, 500, 500, 500, 500, 500, 500]],
      [1, [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]],
    ]) {
      world.random = random;
      world.states.length = 0;
      const client = await world.connected();
      for (const delay of delays) {
        const count = world.sockets.length;
        await world.socket.ends(1001, "Going away");
        const { state, code, willRetry, delayMs } = world.states.at(-1);
        assert.deepEqual([state, code, willRetry, delayMs], ["disconnected", 1001, true, delay]);
        await world.passes(delay - 1);
        assert.equal(world.sockets.length, count);
        await world.passes(1);
        assert.equal(world.sockets.length, count + 1);
        await world.socket.opens();
      }
      await world.passes(5_000);
      await world.socket.ends();
      assert.equal(world.states.at(-1).delayMs, delays[0], "it was stable");
      client.close();
    }
  });

  for (const code of [1000, 1003, 1008, 1009, 1011, 3000, 4000, 4999]) {
    it(`come again after the close code ${code}`, async () => {
      await world.connected();
      await world.socket.ends(code);
      await world.passes(1_000);
      assert.equal(world.sockets.length, 2);
    });
  }

  it("that do not open in 10 s are given up", async () => {
    const client = world.client();
    await settle();
    await world.passes(10_000);
    assert.deepEqual(codes(), ["connecting", "disconnected ConnectTimeout"]);
    assert.ok(world.socket.closedWith);
    client.close();
  });

  it("that do not answer in 5 s are given up, and what they say later is not heard", async () => {
    const client = await world.connected();
    const seen = [];
    client.subscribe("order-17", (each) => seen.push(each));
    await settle();
    const { socket } = world;
    await world.passes(5_000);
    assert.deepEqual(codes().slice(-1), ["disconnected ReplyTimeout"]);
    await socket.subscribed(at(0));
    await socket.says(event(1));
    assert.deepEqual(seen, []);
  });

  for (const code of ["ConnectionGone", "NotSubscribed"]) {
    it(`that the service has forgotten (${code}) are replaced`, async () => {
      const { socket } = await following();
      await socket.says(event(2));
      await world.passes(2_000);
      await socket.answers({ type: "Error", code, message: "" });
      assert.deepEqual(codes().slice(-1), ["disconnected ConnectionGone"]);
      await world.passes(1_000);
      await world.socket.opens();
      assert.deepEqual(world.socket.last.entities, [{ entityId: "order-17", since: at(0) }]);
    });
  }

  it("that are told to go, go and come back", async () => {
    const reasons = [];
    const { socket } = await following({ getToken: ({ reason }) => void reasons.push(reason) });
    await socket.says({ type: "Disconnect", code: "TokenExpired", reconnect: true });
    assert.deepEqual(codes().slice(-1), ["disconnected TokenExpired"]);
    assert.equal(world.sockets.length, 1);
    await world.passes(world.states.at(-1).delayMs);
    assert.equal(world.sockets.length, 2);
    assert.deepEqual(reasons, ["connect", "TokenExpired"]);
  });

  it("that are told to stay away, do", async () => {
    const { client, socket } = await following();
    await socket.says({ type: "Disconnect", code: "Kicked", reconnect: false, reason: "Bye." });
    assert.deepEqual(world.states.at(-1), {
      state: "closed",
      code: "Kicked",
      reason: "Bye.",
      willRetry: false,
    });
    await world.passes(60 * MINUTE);
    assert.equal(world.sockets.length, 1);
    assert.equal(world.timers.size, 0);
    assert.throws(() => client.subscribe("a", () => {}), /closed/);
  });

  it("need an address", async () => {
    const WebSocket = class {
      constructor() {
        throw new SyntaxError("no address");
      }
    };
    world.client({ WebSocket });
    await settle();
    assert.deepEqual(codes(), ["connecting", "closed Refused"]);
  });
});

describe("rotation", () => {
  for (const [random, minutes] of [
    [0, 105],
    [0.999, 115],
  ]) {
    it(`opens a second connection before two hours, after about ${minutes} minutes`, async () => {
      world.random = random;
      const { socket } = await following();
      const answering = setInterval(() => {
        if (socket.last.action === "ping") void socket.answers({ type: "Pong" });
      }, 1_000);
      await world.passes((minutes - 0.1) * MINUTE);
      assert.equal(world.sockets.length, 1);
      await world.passes(0.2 * MINUTE);
      assert.equal(world.sockets.length, 2);
      clearInterval(answering);
    });
  }

  it("takes events from both, each once, and closes the first when the second has it all", async () => {
    const { client, seen, socket } = await following();
    client.subscribe("b", () => {});
    await settle();
    await socket.subscribed(at(0));
    await socket.says(event(1));
    client.rotate();
    client.rotate();
    await settle();
    const second = world.socket;
    assert.equal(world.sockets.length, 2);

    await second.opens();
    assert.deepEqual(second.last.entities, [
      { entityId: "order-17", since: at(1) },
      { entityId: "b", since: at(0) },
    ]);
    await socket.says(event(2));
    await second.says(event(3));
    await second.subscribed(
      { recovered: true, events: [event(2)], cursor: at(3), more: true },
      { recovered: true, events: [], cursor: at(0) },
    );
    assert.equal(socket.closedWith, undefined, "there is more");
    await second.answers({ type: "History", recovered: true, events: [event(4)], cursor: at(4) });
    assert.equal(socket.closedWith, 1000);
    await socket.says(event(5));
    await second.says(event(4), event(5));

    assert.deepEqual(numbers(seen), [1, 2, 3, 4, 5]);
    assert.deepEqual(world.states.map(({ state }) => state), ["connecting", "connected"]);
  });

  it("keeps the first while the second fails, and tries again", async () => {
    const { client, seen, socket } = await following();
    client.rotate();
    await settle();
    await world.socket.ends();
    await socket.says(event(1));
    assert.deepEqual(numbers(seen), [1]);
    await world.passes(1_000);
    assert.equal(world.sockets.length, 3);
    assert.equal(world.states.at(-1).state, "connected");
  });

  it("goes on with the second if the first ends", async () => {
    const { client, seen, socket } = await following();
    client.rotate();
    await settle();
    const second = world.socket;
    await second.opens();
    await socket.ends();
    await second.subscribed({ recovered: true, events: [event(1)], cursor: at(1) });
    await second.says(event(2));
    await world.passes(10_000);

    assert.deepEqual(numbers(seen), [1, 2]);
    assert.equal(world.sockets.length, 2);
    assert.equal(second.closedWith, undefined);
    assert.equal(client.state, "connected");
  });

  it("is not begun twice", async () => {
    let tokens = 0;
    const tokensCome = [];
    const getToken = () => ++tokens && new Promise((resolve) => tokensCome.push(resolve));
    const client = world.client({ getToken });
    client.rotate();
    await settle();
    tokensCome[0]();
    await settle();
    client.rotate();
    await world.socket.opens();
    client.rotate();
    client.rotate();
    await settle();
    assert.equal(tokens, 2);
    tokensCome[1]();
    await settle();
    client.rotate();
    await settle();
    assert.deepEqual([tokens, world.sockets.length], [2, 2]);
  });

  it("subscribes on both to what is new meanwhile", async () => {
    const { client, socket } = await following();
    client.rotate();
    await settle();
    await world.socket.opens();
    client.subscribe("b", () => {});
    await settle();
    assert.deepEqual(socket.last.entities, [{ entityId: "b" }]);
    await world.socket.subscribed({ recovered: true, events: [], cursor: at(0) });
    assert.deepEqual(world.socket.last.entities, [{ entityId: "b" }]);
  });
});

describe("doubt", () => {
  it("pings after eight minutes without a frame", async () => {
    const { socket } = await following();
    await world.passes(4 * MINUTE);
    await socket.says(event(1));
    await world.passes(7.9 * MINUTE);
    assert.equal(socket.last.action, "subscribe");
    // It looks every 15 s.
    await world.passes(0.1 * MINUTE);
    assert.equal(socket.last.action, "ping");
    assert.equal(socket.requests.length, 2);
    await socket.answers({ type: "Pong" });
    await world.passes(7 * MINUTE);
    assert.equal(world.states.at(-1).state, "connected");
  });

  for (const [name, pongTimeoutMs] of [
    ["five seconds", undefined],
    ["what the program says", 1_000],
  ]) {
    it(`gives a pong ${name}`, async () => {
      await following(pongTimeoutMs && { pongTimeoutMs });
      await world.hears(world.window, "online");
      await world.passes((pongTimeoutMs ?? 5_000) - 100);
      assert.equal(world.states.at(-1).state, "connected");
      await world.passes(200);
      assert.equal(world.states.at(-1).code, "ReplyTimeout");
    });
  }

  for (const [name, happens] of [
    ["online", () => world.hears(world.window, "online")],
    ["pageshow", () => world.hears(world.window, "pageshow")],
    ["a page that becomes visible", () => world.hides(false)],
    [
      "a timer that is late",
      async () => {
        world.sleeps(30_000);
        await world.passes(0);
      },
    ],
  ]) {
    it(`pings after ${name}`, async () => {
      const { socket } = await following();
      await happens();
      assert.deepEqual(socket.requests.map(({ action }) => action), ["subscribe", "ping"]);
    });
  }

  it("does not take the slow timers of a hidden page for sleep", async () => {
    const { socket } = await following();
    await world.hides();
    world.sleeps(60_000);
    await world.passes(0);
    assert.equal(socket.requests.length, 1);
  });

  it("is settled by a request that is under way", async () => {
    const client = await world.connected();
    client.subscribe("a", () => {});
    await settle();
    await world.hears(world.window, "online");
    await world.socket.subscribed(at(0));
    assert.equal(world.socket.requests.length, 1);
  });

  it("finds that the service has forgotten the connection", async () => {
    const { socket } = await following();
    await world.hears(world.window, "online");
    await socket.answers({ type: "Error", code: "ConnectionGone", message: "" });
    assert.equal(world.states.at(-1).code, "ConnectionGone");
  });

  it("drops the connection at once when there is no network, and hurries when there is", async () => {
    world.random = 1;
    const { socket } = await following();
    await world.hears(world.window, "offline");
    assert.equal(world.states.at(-1).code, "Offline");
    assert.ok(socket.closedWith);
    await world.hears(world.window, "online");
    await world.hears(world.window, "online");
    await world.passes(0);
    await world.socket.opens();
    await world.passes(4_000);
    assert.equal(world.sockets.length, 2);
    assert.equal(world.states.at(-1).state, "connected");
  });

  it("lets a hidden page wait until somebody looks", async () => {
    await following();
    await world.hides();
    await world.socket.ends();
    assert.equal(world.states.at(-1).delayMs, undefined);
    await world.passes(60 * MINUTE);
    await world.hears(world.window, "online");
    await world.passes(0);
    assert.equal(world.sockets.length, 1);
    await world.hides(false);
    await world.passes(0);
    assert.equal(world.sockets.length, 2);
  });

  it("lets a page that is hidden while it waits, wait", async () => {
    await following();
    await world.socket.ends();
    await world.hides();
    await world.passes(60 * MINUTE);
    assert.equal(world.sockets.length, 1);
    await world.hides(false);
    await world.passes(0);
    assert.equal(world.sockets.length, 2);
  });
});

describe("tokens", () => {
  for (const [token, form] of [
    ["abc.DEF-123_~", "abc.DEF-123_~"],
    ["a/b+c==", "base64url.bearer.authorization.YS9iK2M9PQ"],
    ["ü", "base64url.bearer.authorization.w7w"],
  ]) {
    it(`travel as a subprotocol: ${token}`, async () => {
      world.client({ getToken: async () => token });
      await settle();
      assert.deepEqual(world.socket.protocols, ["websocket", form]);
    });
  }

  it("are fetched once for each attempt, and not kept", async () => {
    const reasons = [];
    const getToken = ({ reason }) => `token-${reasons.push(reason)}`;
    const client = await world.connected({ getToken });
    await world.socket.ends();
    await world.passes(1_000);
    await world.socket.opens();
    client.rotate();
    await settle();
    assert.deepEqual(reasons, ["connect", "reconnect", "rotate"]);
    assert.deepEqual(world.sockets.map(({ protocols }) => protocols[1]), ["token-1", "token-2", "token-3"]);
  });

  it("that nobody can have end the client", async () => {
    const getToken = () => {
      throw new UnauthorizedError("Sign in.");
    };
    world.client({ getToken });
    await settle();
    const { state, code, reason } = world.states.at(-1);
    assert.deepEqual([state, code, reason], ["closed", "Unauthorized", "Sign in."]);
    assert.equal(world.timers.size, 0);
  });

  it("that cannot be had now are asked for again", async () => {
    let tries = 0;
    const getToken = async () => {
      if (++tries < 3) throw new Error("503");
      return "token";
    };
    world.client({ getToken });
    await settle();
    assert.equal(world.states.at(-1).code, "TokenFailed");
    await world.passes(5_000);
    assert.equal(tries, 3);
    assert.equal(world.sockets.length, 1);
  });

  it("that fail for a second connection leave the first", async () => {
    let tries = 0;
    const getToken = () => {
      if (++tries === 2) throw new Error("503");
    };
    const { client, socket } = await following({ getToken });
    client.rotate();
    await settle();
    assert.equal(world.states.at(-1).state, "connected");
    await world.passes(1_000);
    assert.deepEqual([tries, world.sockets.length, socket.closedWith], [3, 2, undefined]);
  });

  it("that come after the end open nothing", async () => {
    let bring;
    const client = world.client({ getToken: () => new Promise((resolve) => (bring = resolve)) });
    client.subscribe("a", () => {});
    await settle();
    client.close();
    bring("token");
    await settle();
    assert.equal(world.sockets.length, 0);
  });
});

describe("renewal", () => {
  /** A client that is connected; what it fetches is what `tokens` gives, in their order. */
  async function renewing(...tokens) {
    const reasons = [];
    const getToken = async ({ reason }) => {
      reasons.push(reason);
      const token = tokens.length > 1 ? tokens.shift() : tokens[0];
      if (token instanceof Error) throw token;
      return token;
    };
    const following = await world.connected({ getToken });
    return { client: following, reasons, socket: world.socket };
  }
  const sent = (socket) => socket.requests.map(({ action, token }) => token ?? action);
  const authenticated = (socket) => socket.answers({ type: "Authenticated", expiresAt: 1 });

  it("comes at four fifths of a token's life, on the same connection, and again", async () => {
    // The second is issued when it is asked for.
    const { reasons, socket } = await renewing(jwt(480, 120), jwt(360 + 300, -360), jwt(9_000));
    await world.passes(359_900);
    assert.deepEqual(reasons, ["connect"]);
    await world.passes(100);
    assert.deepEqual(reasons, ["connect", "authenticate"]);
    assert.equal(socket.last.action, "authenticate");
    assert.equal(socket.requests.length, 1);
    await authenticated(socket);
    await world.passes(239_900);
    assert.equal(reasons.length, 2);
    await world.passes(100);
    assert.equal(reasons.length, 3);
    assert.equal(world.sockets.length, 1);
  });

  it("comes a second after connecting at the earliest", async () => {
    const { reasons, socket } = await renewing(jwt(60, 6_000), jwt(3_600));
    await world.passes(990);
    assert.deepEqual(reasons, ["connect"]);
    await world.passes(10);
    assert.deepEqual(reasons, ["connect", "authenticate"]);
    assert.equal(socket.last.token, jwt(3_599, 1));
  });

  for (const [name, token] of [
    ["an opaque token", () => "opaque"],
    ["no token", () => undefined],
    ["a token that does not say when it was issued", () => jwt(60, 6_000, { iat: undefined })],
    ["a token whose issue is null", () => jwt(60, 6_000, { iat: null })],
    ["a token that does not say when it ends", () => jwt(60, 6_000, { exp: undefined })],
    ["a token whose times are no numbers", () => jwt(60, 6_000, { iat: "then", exp: "soon" })],
    ["a token that ends before it begins", () => jwt(60, -61)],
    ["a token whose time is over", () => jwt(-1, 600)],
    ["a token that outlives timers", () => jwt(1e9)],
    ["something else with dots", () => "a.bnVsbA.c"],
  ]) {
    it(`does not come for ${name}`, async () => {
      const { reasons } = await renewing(token());
      await world.passes(7 * MINUTE);
      assert.deepEqual(reasons, ["connect"]);
    });
  }

  it("takes its place among the requests, before others", async () => {
    const { client, socket } = await renewing(jwt(60, 6_000), "token");
    client.subscribe("a", () => {});
    await settle();
    client.subscribe("b", () => {});
    await world.passes(1_000);
    assert.deepEqual(sent(socket), ["subscribe"]);
    await socket.subscribed(at(0));
    assert.deepEqual(sent(socket), ["subscribe", "token"]);
    await authenticated(socket);
    assert.deepEqual(sent(socket), ["subscribe", "token", "subscribe"]);
  });

  it("is tried again until the end when there is no other token yet", async () => {
    const same = jwt(10, 1_000);
    const { reasons, socket } = await renewing(same, new Error("503"), same, undefined);
    world.random = 1;
    // After 1 s, then 1 s, 2 s and 4 s; the next would be after the end.
    await world.passes(7_900);
    assert.equal(reasons.length, 4);
    await world.passes(200);
    assert.equal(reasons.length, 5);
    await world.passes(60_000);
    assert.equal(reasons.length, 5);
    assert.equal(socket.closedWith, undefined);
    assert.deepEqual(sent(socket), []);
  });

  it("is tried again soon at first, each time", async () => {
    world.random = 1;
    const failing = Array.from({ length: 4 }, () => new Error("503"));
    const { reasons, socket } = await renewing(jwt(60, 6_000), ...failing, jwt(120, -20), new Error("503"));
    await world.passes(1_000 + 1_000 + 2_000 + 4_000 + 8_000);
    await authenticated(socket);
    // 20 s + 4/5 of 100 s after the beginning, of which 16 s are over.
    await world.passes(84_000);
    assert.equal(reasons.length, 7);
    await world.passes(1_000);
    assert.equal(reasons.length, 8);
  });

  it("does not run in circles where the clock is wrong", async () => {
    world.random = 1;
    const { reasons, socket } = await renewing(...Array.from({ length: 99 }, (_, n) => jwt(600 + n, 60_000)));
    for (let second = 0; second < 100; second++) {
      await world.passes(1_000);
      if (socket.last?.token) await authenticated(socket);
    }
    assert.ok(reasons.length < 12, `${reasons.length}`);
  });

  it("ends the client when nobody can have a token", async () => {
    const { socket } = await renewing(jwt(60, 6_000), new UnauthorizedError("Sign in."));
    await world.passes(1_000);
    const { state, code, reason } = world.states.at(-1);
    assert.deepEqual([state, code, reason], ["closed", "Unauthorized", "Sign in."]);
    assert.equal(socket.closedWith, 1000);
    assert.equal(world.timers.size, 0);
  });

  for (const answer of [
    { type: "Error", code: "ServiceUnavailable", message: "" },
    { message: "Too Many Requests", connectionId: "abc=", requestId: "xyz=" },
  ]) {
    it(`answered ${answer.code ?? answer.message} is made again`, async () => {
      const { reasons, socket } = await renewing(jwt(60, 6_000), "token");
      await world.passes(1_000);
      await socket.says({ ...answer, requestId: answer.requestId ?? socket.last.requestId });
      await world.passes(1_000);
      assert.deepEqual(sent(socket), ["token", "token"]);
      await authenticated(socket);
      await world.passes(60_000);
      assert.deepEqual(reasons, ["connect", "authenticate"]);
      assert.equal(world.states.at(-1).state, "connected");
    });
  }

  for (const code of ["Forbidden", "TokenExpired", "UnknownAction"]) {
    it(`answered ${code} ends the connection, and a new token comes with the next`, async () => {
      const { client, reasons, socket } = await renewing(jwt(60, 6_000), "refused", "token");
      client.subscribe("a", () => {}).on("error", () => assert.fail("it goes on"));
      await settle();
      await socket.subscribed(at(3));
      await world.passes(1_000);
      await socket.answers({ type: "Error", code, message: "No." });
      const { state, code: said, reason, willRetry } = world.states.at(-1);
      assert.deepEqual([state, said, reason, willRetry], ["disconnected", code, "No.", true]);
      assert.equal(socket.closedWith, 1000);
      await world.passes(1_000);
      assert.deepEqual(reasons, ["connect", "authenticate", code]);
      assert.equal(world.socket.protocols[1], "token");
      await world.socket.opens();
      assert.deepEqual(world.socket.last.entities, [{ entityId: "a", since: at(3) }]);
    });
  }

  it("that finds the connection forgotten opens another", async () => {
    const { reasons, socket } = await renewing(jwt(60, 6_000), "token");
    await world.passes(1_000);
    await socket.answers({ type: "Error", code: "ConnectionGone", message: "" });
    assert.equal(world.states.at(-1).code, "ConnectionGone");
    await world.passes(1_000);
    assert.deepEqual(reasons, ["connect", "authenticate", "reconnect"]);
  });

  it("is over with its connection, and leaves no timer", async () => {
    let bring;
    const getToken = ({ reason }) =>
      reason === "authenticate" ? new Promise((resolve) => (bring = resolve)) : jwt(60, 6_000);
    const client = await world.connected({ getToken });
    await world.passes(1_000);
    client.close();
    bring();
    await settle();
    assert.equal(world.timers.size, 0);
    const other = await world.connected({ getToken });
    other.close();
    assert.equal(world.timers.size, 0);
  });

  it("never says a token", async () => {
    const tokens = [jwt(60, 6_000), jwt(3_600), jwt(7_200)];
    const { socket } = await renewing(...tokens);
    await world.passes(1_000);
    await socket.answers({ type: "Error", code: "Forbidden", message: "" });
    await world.passes(1_000);
    await world.socket.opens();
    const said = JSON.stringify([world.states, world.reported]);
    for (const token of tokens) assert.ok(!said.includes(token.split(".")[1]));
  });
});

describe("the end of a token", () => {
  for (const action of ["subscribe", "history"]) {
    it(`that is said to ${action} ends the connection, not the subscription`, async () => {
      const reasons = [];
      const { seen, socket, subscription } = await following({
        getToken: ({ reason }) => void reasons.push(reason),
      });
      subscription.on("error", () => assert.fail("it goes on"));
      if (action === "history") {
        await socket.says(event(2));
        await world.passes(2_000);
      } else {
        await socket.ends();
        await world.passes(1_000);
        await world.socket.opens();
      }
      const { length } = reasons;
      assert.equal(world.socket.last.action, action);
      await world.socket.answers({ type: "Error", code: "TokenExpired", message: "" });
      assert.equal(world.states.at(-1).code, "TokenExpired");
      // The first attempt fails: why a new token is needed is not forgotten.
      await world.passes(2_000);
      await world.socket.ends();
      await world.passes(4_000);
      await world.socket.opens();
      assert.deepEqual(reasons.slice(length), ["TokenExpired", "TokenExpired"]);
      await world.socket.subscribed({ recovered: true, events: [event(1), event(2)], cursor: at(2) });
      assert.deepEqual(numbers(seen), [1, 2]);
      await world.socket.ends();
      await world.passes(9_000);
      assert.equal(reasons.at(-1), "reconnect");
    });
  }
});

describe("grants", () => {
  it("that do not cover a subscription any more end it, and it alone", async () => {
    const { client, socket, subscription, seen } = await following();
    const errors = [];
    subscription.on("error", (error) => errors.push(error));
    client.subscribe("order-17", () => {}).on("error", ({ code }) => errors.push(code));
    const other = [];
    client.subscribe("b", (each) => other.push(each));
    await settle();
    await socket.subscribed(at(0));
    await socket.says({ type: "Unsubscribed", entityId: "order-17", code: "Forbidden" });
    await socket.says(event(1), event(1, { entityId: "b" }));

    assert.deepEqual(errors, [{ code: "Forbidden", message: "" }, "Forbidden"]);
    assert.deepEqual([numbers(seen), numbers(other)], [[], [1]]);
    assert.equal(socket.requests.length, 2, "there is nothing to unsubscribe from");
    const again = [];
    client.subscribe("order-17", (each) => again.push(each));
    await settle();
    assert.deepEqual(socket.last.entities, [{ entityId: "order-17" }]);
    await socket.subscribed(at(1));
    await socket.says(event(2));
    assert.deepEqual(numbers(again), [2]);
  });

  it("do not end what was never begun, and a reply is no such word", async () => {
    const { client, socket, seen, subscription } = await following();
    client.subscribe("b", () => {}).unsubscribe();
    await socket.says({ type: "Unsubscribed", entityId: "strange", code: "Forbidden" });
    await socket.says({ type: "Unsubscribed", entityId: "order-17" });
    world.isBent = true;
    await socket.says({ type: "Unsubscribed" });
    await socket.says(event(1));
    assert.deepEqual(numbers(seen), [1]);
    assert.equal(subscription.cursor, at(1));
  });
});

describe("the user's own", () => {
  it("comes when the program asks, beside entities, and is recovered like them", async () => {
    const { client, socket } = await following();
    await socket.says(notification(1));
    const seen = [];
    const subscription = client.subscribeUser((each) => seen.push(each));
    await settle();
    assert.deepEqual(socket.last.entities, [{ user: true }]);
    await socket.says(notification(3));
    await socket.subscribed(at(2));
    await socket.says(notification(5));
    assert.deepEqual(seen, [notification(3)]);
    assert.equal(subscription.entityId, undefined);
    assert.equal(subscription.cursor, at(3));

    await world.passes(2_000);
    const { requestId, ...asked } = socket.last;
    assert.deepEqual(asked, { action: "history", user: true, since: at(3) });
    const events = [4, 5].map(notification);
    await socket.answers({ type: "History", user: true, recovered: true, events, cursor: at(5) });
    await socket.ends();
    await world.passes(1_000);
    await world.socket.opens();
    assert.deepEqual(world.socket.last.entities, [
      { entityId: "order-17", since: at(0) },
      { user: true, since: at(5) },
    ]);
    await world.socket.subscribed(
      { recovered: true, events: [], cursor: at(0) },
      { recovered: true, events: [notification(6)], cursor: at(6) },
    );
    assert.deepEqual(numbers(seen), [3, 4, 5, 6]);
  });

  it("is not unsubscribed from on the wire, and begins anew", async () => {
    const { client, socket } = await following();
    const first = client.subscribeUser(() => assert.fail("it is over"));
    await settle();
    await socket.subscribed(at(0));
    first.unsubscribe();
    await socket.says(notification(1));
    assert.deepEqual(socket.requests.map(({ action }) => action), ["subscribe", "subscribe"]);
    const seen = [];
    client.subscribeUser((each) => seen.push(each), { since: at(0) });
    await settle();
    assert.deepEqual(socket.last.entities, [{ user: true, since: at(0) }]);
    await socket.subscribed({ recovered: true, events: [notification(1)], cursor: at(1) });
    assert.deepEqual(numbers(seen), [1]);
  });

  it("is refused where there is no user, or no cursor", async () => {
    const client = await world.connected();
    const codes = [];
    client.subscribeUser(() => {}, { since: "first" }).on("error", ({ code }) => codes.push(code));
    client.subscribeUser(() => {}).on("error", ({ code }) => codes.push(code));
    await settle();
    await world.socket.subscribed({ code: "Forbidden", message: "This connection has no user." });
    assert.deepEqual(codes, ["InvalidSince", "Forbidden"]);
    assert.equal(client.state, "connected");
  });
});

describe("the end", () => {
  it("leaves no timer and no listener", async () => {
    const { client, socket } = await following();
    client.subscribe("b", () => {});
    const c = client.subscribe("c", () => {}, { since: at(0) });
    await socket.says(event(2), event(2, { entityId: "c" }));
    c.unsubscribe();
    client.rotate();
    await settle();
    client.close();
    client.close();

    assert.equal(world.timers.size, 0);
    assert.equal(world.window.listeners.size + world.document.listeners.size, 0);
    assert.deepEqual(world.sockets.map(({ closedWith }) => closedWith), [1000, 1000]);
    assert.equal(world.states.filter(({ state }) => state === "closed").length, 1);
  });

  it("may come before the beginning", async () => {
    const client = world.client();
    client.close();
    await settle();
    assert.equal(world.sockets.length, 0);
  });
});

describe("what the program does wrong", () => {
  it("harms nobody else", async () => {
    const { client, seen, socket } = await following();
    client.subscribe("order-17", () => {
      throw new Error("mine");
    });
    client.subscribe("order-17", async () => {
      throw new Error("later");
    });
    client.on("state", () => {
      throw new Error("state");
    });
    const other = [];
    client.subscribe("order-17", (each) => other.push(each));

    await socket.says(event(1), event(2));

    assert.deepEqual([numbers(seen), numbers(other)], [[1, 2], [1, 2]]);
    assert.equal(world.reported.length, 4);
  });

  it("is said where nobody listens", async () => {
    const client = await world.connected();
    client.subscribe("", () => {});
    await settle();
    assert.equal(world.reported.length, 1);
  });
});

it("a listener can be taken away", async () => {
  const client = world.client();
  const states = [];
  const off = client.on("state", ({ state }) => states.push(state));
  client.on("state", ({ state }) => states.push(`other ${state}`));
  await settle();
  off();
  await world.socket.opens();
  assert.deepEqual(states, ["connecting", "other connecting", "other connected"]);
  assert.ok(client instanceof NotificationsClient);
});
