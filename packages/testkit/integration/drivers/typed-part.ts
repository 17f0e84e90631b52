export enum Unit {
  Celsius = "C",
  Kelvin = "K",
}

export const describe = (unit: Unit, value: number): string => `${value} ${unit}`;
