// What nested.ts imports: `limited` makes closures, which travel by value; `other` goes by reference, so that workers load this file as a module too.
interface Answer {
  readonly value: number;
}

export function other(value: number): Answer {
  return { value };
}

export const limited =
  (max: number) =>
  (x: number): number => {
    const { value }: Answer = other(x);
    if (value > max) throw new RangeError("over the limit"); // line 14
    return value;
  };
