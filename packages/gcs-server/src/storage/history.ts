/** Ids in the order in which they ended, bounded: whoever remembers the dead asks here whom to forget. */
export class History {
  private readonly ids = new Set<string>();
  constructor(private readonly max: number) {}

  has(id: string): boolean {
    return this.ids.has(id);
  }
  /** Adds one. @returns those that no longer fit, oldest first. */
  add(id: string): string[] {
    this.ids.add(id);
    const forgotten: string[] = [];
    for (const oldest of this.ids) {
      if (this.ids.size <= this.max) break;
      this.ids.delete(oldest);
      forgotten.push(oldest);
    }
    return forgotten;
  }
}
