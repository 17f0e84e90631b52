export { type Clock, type Timer, sleep, systemClock } from "./clock.js";
export { type Deferred, deferred } from "./deferred.js";
export { BoundedQueue, Deque } from "./deque.js";
export {
  type ErrorCode,
  errorCodes,
  InvariantError,
  invariant,
  isTrayError,
  messageOf,
  TrayError,
  type TrayErrorOptions,
  unreachable,
} from "./errors.js";
export { checkEdge, type Edges, mermaidOf, StateMachine } from "./fsm.js";
export { createLogger, type LogFields, type Logger, type LogLevel, silentLogger } from "./log.js";
export { Ewma, Metrics, type Sample } from "./metrics.js";
export { type Random, randomInt, SeededRandom, systemRandom } from "./random.js";
export { type Closer, Scope, type ScopeOptions } from "./scope.js";
export { SimClock } from "./sim-clock.js";
export { textOf } from "./text.js";
export { type Duration, formatDuration, formatSize, parseDuration, parseSize, type Size } from "./units.js";
