/**
 * Count what one client was to get of one entity, and what it got.
 *
 * An event is known by its id as soon as the bus has taken it from this page; one that another
 * program published, when it arrives. So what is missing is known without asking the service.
 */

const MAX_KEPT = 5000;

const parse = (cursor) => {
  const [epoch, number] = String(cursor).split("-");
  return { epoch, number: Number(number) };
};

export class Tally {
  received = 0;
  repeated = 0;
  duplicates = 0;
  inGap = 0;
  // How often each id arrived; ids that are settled are only counted after a while.
  #arrivals = new Map();
  #settled = 0;
  #onTheWire = new Set();

  get published() {
    return this.#settled + this.#arrivals.size;
  }

  get missing() {
    return Math.max(0, this.published - this.received - this.inGap);
  }

  publish(ids) {
    for (const id of ids) if (!this.#arrivals.has(id)) this.#arrivals.set(id, 0);
    this.#forget();
  }

  receive({ id }) {
    const times = (this.#arrivals.get(id) ?? 0) + 1;
    this.#arrivals.set(id, times);
    if (times === 1) this.received += 1;
    else this.repeated += 1;
    this.#forget();
  }

  /** Take a frame as it is on the wire, before the client has judged it. */
  see(cursor) {
    if (this.#onTheWire.has(cursor)) this.duplicates += 1;
    this.#onTheWire.add(cursor);
    if (this.#onTheWire.size > MAX_KEPT) {
      this.#onTheWire.delete(this.#onTheWire.values().next().value);
    }
  }

  gap({ from, to }) {
    const [first, last] = [parse(from), parse(to)];
    // Another epoch says nothing about how many there were: what is missing is what is lost.
    this.inGap += first.epoch === last.epoch ? last.number - first.number : this.missing;
  }

  #forget() {
    for (const [id, times] of this.#arrivals) {
      if (this.#arrivals.size <= MAX_KEPT || times === 0) return;
      this.#arrivals.delete(id);
      this.#settled += 1;
    }
  }
}
