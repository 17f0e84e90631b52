export enum Unit {
  Celsius = "C",
  Kelvin = "K",
}

/** Of a module: in this program there must be one of it, whichever way its instances came. */
export class Scale {
  constructor(readonly factor: number) {}
  apply(value: number): number {
    return this.factor * value;
  }
}

export class Trouble extends Error {
  readonly where = "in another module";
}

export const describe = (unit: Unit, value: number): string => `${value} ${unit}`;
