// PinOffsets: on which block each pin of a client is. Clients release by object id; the same object may have been deleted and made anew at
// another offset while old pins live, and then the older pin is released first.

export class PinOffsets {
  private readonly byClient = new Map<string, Map<string, number[]>>();

  add(client: string, objectId: string, offset: number): void {
    let objects = this.byClient.get(client);
    if (objects === undefined) {
      objects = new Map();
      this.byClient.set(client, objects);
    }
    const offsets = objects.get(objectId);
    if (offsets === undefined) objects.set(objectId, [offset]);
    else offsets.push(offset);
  }

  /** The offset of the oldest pin, which is forgotten; undefined when there is none. */
  take(client: string, objectId: string): number | undefined {
    const objects = this.byClient.get(client);
    const offsets = objects?.get(objectId);
    const offset = offsets?.shift();
    if (offsets?.length === 0) objects?.delete(objectId);
    if (objects?.size === 0) this.byClient.delete(client);
    return offset;
  }

  forget(client: string): void {
    this.byClient.delete(client);
  }
}
