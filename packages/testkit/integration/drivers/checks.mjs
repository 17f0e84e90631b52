// What drivers of api.test.ts share: named checks, run one after the other, each told to the test as a line of JSON.
const checks = [];
const checkTimeoutMs = 20_000;

/** The test finds the names in the source of the driver, so they are plain strings at the beginning of a line. */
export function check(name, body) {
  checks.push({ name, body });
}

/** A check of what is promised and known not to hold yet. Its test passes while this fails, and says so when it no longer does. */
export function defect(name, body) {
  check(name, body);
}

export async function runChecks() {
  for (const { name, body } of checks) {
    const startedMs = performance.now();
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done after ${checkTimeoutMs} ms`)), checkTimeoutMs);
    });
    let error = null;
    try {
      await Promise.race([body(), late]);
    } catch (thrown) {
      error =
        thrown instanceof Error
          ? `${thrown.stack}${thrown.cause === undefined ? "" : `\ncause: ${thrown.cause?.stack ?? thrown.cause}`}`
          : String(thrown);
    }
    clearTimeout(timer);
    say("check", { name, error, ms: Math.round(performance.now() - startedMs) });
  }
}

export function say(word, value) {
  process.stdout.write(`${word} ${JSON.stringify(value)}\n`);
}

/** What `promise` rejects with. @throws when it does not. */
export async function rejection(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`resolved with ${JSON.stringify(value)} instead of rejecting`);
}

export const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
