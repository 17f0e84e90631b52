// Counters and gauges in the Prometheus model, small enough to write by hand: a name, labels, a number. The dashboard renders them.

export interface Sample {
  name: string;
  labels: Readonly<Record<string, string>>;
  value: number;
}

/** A process's metrics. Gauges are read through callbacks at collection time, so the hot path pays nothing for them. */
export class Metrics {
  private readonly counters = new Map<string, Sample>();
  private readonly gauges: { name: string; labels: Record<string, string>; read: () => number }[] = [];

  /** Adds `by` to a counter. Labels must be of bounded cardinality (method, state, cause: never an id). */
  count(name: string, labels: Record<string, string> = {}, by = 1): void {
    const key = `${name}|${JSON.stringify(labels)}`;
    const sample = this.counters.get(key);
    if (sample === undefined) this.counters.set(key, { name, labels, value: by });
    else sample.value += by;
  }
  gauge(name: string, read: () => number, labels: Record<string, string> = {}): void {
    this.gauges.push({ name, labels, read });
  }
  collect(): Sample[] {
    return [...[...this.counters.values()].map((s) => ({ ...s })), ...this.gauges.map((g) => ({ name: g.name, labels: g.labels, value: g.read() }))];
  }
}

/** Exponentially weighted mean of durations; `undefined` before the first sample. */
export class Ewma {
  private mean: number | undefined;
  constructor(private readonly weight = 0.2) {}
  add(sample: number): void {
    this.mean = this.mean === undefined ? sample : this.mean + this.weight * (sample - this.mean);
  }
  get value(): number | undefined {
    return this.mean;
  }
}
