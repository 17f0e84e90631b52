// A class of a module with private members, which says itself how it travels; loaded before init().
import * as tray from "tray";

export class Purse {
  #coins;
  constructor(coins) {
    this.#coins = coins;
  }
  static of(coins) {
    return new Purse(coins);
  }
  get coins() {
    return this.#coins;
  }
  static {
    tray.registerSerializer(Purse, { serialize: (purse) => purse.#coins, deserialize: (coins) => new Purse(coins) });
  }
}

/** Names itself, and has private members that are no state of instances. */
export class Counted {
  static #made = 0;
  constructor() {
    this.number = ++Counted.#made;
  }
}
