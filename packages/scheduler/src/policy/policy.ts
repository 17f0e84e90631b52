import type { Random } from "@tray/common";
import type { Candidate } from "../candidate.js";
import type { PlaceRequest } from "../request.js";

/**
 * Chooses where the next worker goes: a candidate with room, or undefined when none has any. Called once per worker; `place` counts
 * `room` and `placed` between calls. Made anew for each placement.
 */
export type Chooser = () => Candidate | undefined;

/** A policy sees feasible nodes only, by ascending node id. */
export type Policy = (candidates: readonly Candidate[], request: PlaceRequest, random: Random) => Chooser;
