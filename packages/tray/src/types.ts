// The types of the public API that are more than records.
import type { ActorOptions, MethodOptions, ObjectRef, ObjectRefGenerator, TaskOptions } from "@tray/core-worker";

/** A parameter of type P takes P or a reference to it (resolved before the function runs). */
export type RefArgs<A extends readonly unknown[]> = { [K in keyof A]: A[K] | ObjectRef<A[K]> };

type Result<R> = Awaited<R>;

// A mapped type keeps tuples only when it maps over a type parameter itself.
type Refs<T extends readonly unknown[]> = { [K in keyof T]: ObjectRef<T[K]> };

/** What a generator yields, promises unwrapped. */
type Item<R> = Result<R> extends AsyncIterable<infer T> | Iterable<infer T> ? Awaited<T> : unknown;

/** Generators stream, if not told otherwise. (Wrapped in tuples: a function that never returns is no generator.) */
export type DefaultReturns<R> = [R] extends [never] ? 1 : [R] extends [Generator | AsyncGenerator] ? (0 extends 1 & R ? 1 : "streaming") : 1;

/** One reference; for `numReturns: n` as many as the function's array has; for "streaming" the references to the items as they are yielded. */
export type ReturnRef<R, N = DefaultReturns<R>> = N extends "streaming"
  ? ObjectRefGenerator<Item<R>>
  : N extends 1
    ? ObjectRef<Result<R>>
    : N extends 0
      ? undefined
      : Result<R> extends readonly unknown[]
        ? Refs<Result<R>>
        : ObjectRef<unknown>[];

type NumReturns<O, Before> = O extends { numReturns: infer N } ? N : Before;

/** A function that runs elsewhere: see `remote`. */
export interface RemoteFunction<A extends unknown[], R, N = DefaultReturns<R>> {
  /** Submits a task. Synchronous; what happens remotely arrives by `get`. @throws SerializationError for arguments that cannot be shipped. */
  remote(...args: RefArgs<A>): ReturnRef<R, N>;
  /** The same function with other options (laid over those it has). */
  options<const O extends TaskOptions>(o: O): RemoteFunction<A, R, NumReturns<O, N>>;
  /** The original, for local calls. */
  readonly function: (...args: A) => R;
}

export type AnyClass = abstract new (...args: never[]) => object;

/** A class whose instances live in workers of their own: see `remote`. */
export interface ActorClass<C extends AnyClass> {
  /** Creates an actor. Synchronous; the handle is usable at once, its calls wait until the actor is there. */
  remote(...args: RefArgs<ConstructorParameters<C>>): ActorHandle<InstanceType<C>>;
  options(o: ActorOptions): ActorClass<C>;
}

export type MethodNames<T> = { [M in keyof T]: T[M] extends (...args: never[]) => unknown ? M : never }[keyof T];

export interface ActorMethod<F, N = F extends (...args: never[]) => infer R ? DefaultReturns<R> : 1> {
  remote(...args: F extends (...args: infer A) => unknown ? RefArgs<A> : never): F extends (...args: never[]) => infer R ? ReturnRef<R, N> : never;
  options<const O extends MethodOptions>(o: O): ActorMethod<F, NumReturns<O, N>>;
}

declare const actorInfoKey: unique symbol;
/** A handle to an actor: one property per method. Handles may be passed, stored and captured; the last one gone, the actor ends. */
export type ActorHandle<T> = { readonly [M in MethodNames<T>]: ActorMethod<T[M]> } & { readonly [actorInfoKey]?: T };
