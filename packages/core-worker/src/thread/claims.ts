// Claims: who gets an execution that was handed over: the user's thread, which begins it, or the core thread, which takes it back. Whoever wins its claim.
//
// Owns:     a table of slots shared by both threads.
// Not mine: what is handed over and when it is taken back (core/executor.ts), what the user's thread does with what it could not win.
//
// Invariants
//   M1. a claim is won once, by one of the two.
//   M2. a slot names the execution whose claim is open in it, and none (0) once that was won: so one that was taken back, and still lies in the user's
//       queue, cannot win in the name of another that has its slot by then.
//   M3. a slot is given to nobody while a claim is open in it, however many executions came and went meanwhile.

/** More claims are never open at once. */
export const claimSlots = 4096;

/** On the core thread: opens a claim. @returns its slot, to be handed over with the execution. Fewer than claimSlots claims are open. */
export function openClaim(claims: Int32Array, execId: number): number {
  let slot = execId % claimSlots;
  while (Atomics.load(claims, slot) !== 0) slot = (slot + 1) % claimSlots; // M3
  Atomics.store(claims, slot, execId);
  return slot;
}

/** On either thread. False when the other one has won it. */
export function winClaim(claims: Int32Array, slot: number, execId: number): boolean {
  return Atomics.compareExchange(claims, slot, execId, 0) === (execId | 0);
}

/** Somebody has won it. May become true at any moment. */
export function isClaimWon(claims: Int32Array, slot: number, execId: number): boolean {
  return Atomics.load(claims, slot) !== (execId | 0);
}
