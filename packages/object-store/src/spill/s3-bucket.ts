// A bucket over the AWS SDK, which is loaded when an s3:// URI is configured and never before: it is an optional package of the user's.
import { messageOf, TrayError } from "@tray/common";
import type { Bucket } from "./s3-spill-store.js";

/** The part of @aws-sdk/client-s3 that is used here; the package may be absent at build time. */
interface S3Module {
  readonly S3Client: new (options: Record<string, unknown>) => S3Client;
  readonly PutObjectCommand: Command;
  readonly GetObjectCommand: Command;
  readonly DeleteObjectsCommand: Command;
  readonly ListObjectsV2Command: Command;
}
type Command = new (input: Record<string, unknown>) => object;
interface S3Client {
  send(command: object): Promise<S3Answer>;
}
interface S3Answer {
  readonly Body?: AsyncIterable<Uint8Array>;
  readonly Contents?: readonly { readonly Key: string }[];
  readonly Errors?: readonly { readonly Message?: string }[];
  readonly IsTruncated?: boolean;
}

const sdkName = "@aws-sdk/client-s3";
const noBytes: readonly Uint8Array[] = [];
/** Of one DeleteObjects request. */
const deletesMax = 1_000;

/**
 * "s3://bucket/prefix?endpoint=http://127.0.0.1:4568&region=eu-central-1": what this node spills lies below "prefix/<name>/". Without `endpoint` it is AWS's own;
 * credentials come from where the SDK looks for them (environment, profile, instance).
 * @throws CONFIG the URI is wrong, or the SDK is not installed.
 */
export async function openS3(uri: string, name: string): Promise<Bucket> {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url === undefined || url.protocol !== "s3:" || url.hostname === "")
    throw new TrayError("CONFIG", `${uri} is not a URI of the form s3://bucket/prefix`);
  let sdk: S3Module;
  try {
    sdk = (await import(sdkName)) as S3Module;
  } catch (error) {
    throw new TrayError("CONFIG", `objects cannot be spilled to ${uri}: ${sdkName} is not installed`, {
      cause: error,
      hint: `npm install ${sdkName}`,
    });
  }
  const endpoint = url.searchParams.get("endpoint");
  const region = url.searchParams.get("region");
  const client = new sdk.S3Client({
    ...(region === null && endpoint === null ? {} : { region: region ?? "us-east-1" }),
    ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
    requestChecksumCalculation: "WHEN_REQUIRED", // values were never checksummed on their way to a disk either, and it costs the event loop
    responseChecksumValidation: "WHEN_REQUIRED",
  });
  const prefix = [url.pathname.replace(/^\/+|\/+$/g, ""), name].filter((part) => part !== "").join("/");
  return new S3Bucket(sdk, client, url.hostname, `${prefix}/`);
}

class S3Bucket implements Bucket {
  constructor(
    private readonly sdk: S3Module,
    private readonly client: S3Client,
    private readonly bucket: string,
    private readonly prefix: string,
  ) {}

  async put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    // One copy, so that the SDK can sign it and send it again: streams it can do neither with.
    const body = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, bytes);
    await this.send(`write ${key} to`, new this.sdk.PutObjectCommand({ ...this.at(key), Body: body, ContentLength: bytes }));
  }

  async get(key: string, offset: number, into: Uint8Array): Promise<void> {
    const range = `bytes=${offset}-${offset + into.byteLength - 1}`;
    const { Body } = await this.send(`read ${key} from`, new this.sdk.GetObjectCommand({ ...this.at(key), Range: range }));
    let at = 0;
    try {
      for await (const chunk of Body ?? noBytes) {
        if (at + chunk.byteLength > into.byteLength) throw new Error("it has more bytes than were asked for");
        into.set(chunk, at);
        at += chunk.byteLength;
      }
    } catch (error) {
      throw this.failure(`read ${key} from`, error);
    }
    if (at !== into.byteLength) throw this.failure(`read ${key} from`, new Error(`it ended after ${at} of ${into.byteLength} bytes`));
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += deletesMax) {
      const Objects = keys.slice(at, at + deletesMax).map((key) => ({ Key: `${this.prefix}${key}` }));
      const { Errors } = await this.send("delete from", new this.sdk.DeleteObjectsCommand({ Bucket: this.bucket, Delete: { Objects, Quiet: true } }));
      if (Errors !== undefined && Errors.length > 0) throw this.failure("delete from", new Error(Errors[0]?.Message ?? "refused"));
    }
  }

  async clear(): Promise<void> {
    for (;;) {
      const list = new this.sdk.ListObjectsV2Command({ Bucket: this.bucket, Prefix: this.prefix, MaxKeys: deletesMax });
      const { Contents = [], IsTruncated } = await this.send("list", list);
      if (Contents.length > 0) await this.delete(Contents.map(({ Key }) => Key.slice(this.prefix.length)));
      if (IsTruncated !== true) return;
    }
  }

  private at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.bucket, Key: `${this.prefix}${key}` };
  }

  private async send(what: string, command: object): Promise<S3Answer> {
    try {
      return await this.client.send(command);
    } catch (error) {
      throw this.failure(what, error);
    }
  }

  private failure(what: string, error: unknown): TrayError {
    const name = (error as { name?: unknown }).name;
    const message = `cannot ${what} s3://${this.bucket}/${this.prefix}: ${messageOf(error)}`;
    if (name === "NoSuchKey") return new TrayError("NOT_FOUND", message, { cause: error });
    const isFull = name === "QuotaExceeded" || name === "XMinioStorageFull" || name === "InsufficientStorage";
    return new TrayError(isFull ? "OUT_OF_DISK" : "SYSTEM", message, { cause: error });
  }
}
