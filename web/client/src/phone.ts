/** What a phone does with a node: the flow of the protocol, with its retries. */

import { wipe } from "./bytes.js";
import type { Writable } from "./endpoint.js";
import { ProvisioningError } from "./errors.js";
import { decodeInfo, decodeMessage, decodeOutbound, decodePublicStatus, encodeRecord, encodeRequest } from "./messages.js";
import type {
  Accept,
  CareReply,
  CareRequest,
  Credentials,
  Info,
  K2,
  Message,
  Network,
  PublicStatus,
  Reply,
  Request,
  Status,
} from "./messages.js";
import type { PairingSecret } from "./secret.js";
import { Opening, systemRandom } from "./session.js";
import type { Random, Session } from "./session.js";
import { Limit, systemClock } from "./transport.js";
import type { Clock, Transport } from "./transport.js";

/** Longer than a node takes for its slowest answer, that to a scan; milliseconds. */
const REPLY_LIMIT = 40_000;
/** Longer than network care takes for its slowest answer, that to a join; milliseconds. */
const CARE_LIMIT = 150_000;
/** Longer than a join and a registration with all their retries; milliseconds. */
const PATIENCE = 300_000;
/** Pauses between tries to connect again, milliseconds: short, because a person is waiting. */
const PAUSE = { first: 50, longest: 2_000 };
/** Handshakes with the code that may stay unanswered in a row, because the node may have counted each as a guess. */
const UNANSWERED_LIMIT = 2;

/** An event to show while an attempt is followed. */
export type Progress =
  /** The node has stored the attempt. */
  | { readonly kind: "accepted" }
  | { readonly kind: "status"; readonly status: Status }
  /** The link is lost; the phone connects again. This is normal over the access point. */
  | { readonly kind: "lost" }
  /** The phone has connected again. */
  | { readonly kind: "back" };

/** Options of {@link Phone}. */
export interface PhoneOptions {
  /** Replaces the system's clock. */
  readonly clock?: Clock;
  /** Replaces the system's random bytes; for tests with known answers. */
  readonly random?: Random;
}

/** Options of {@link Phone.bringOnline} and {@link Phone.follow}. */
export interface AttemptOptions {
  /** How long to wait for the outcome, across lost links; milliseconds. */
  readonly patience?: number;
  /** Cancels the attempt. The returned status is the outcome: usually `Cancelled`, or another one if it was too late. */
  readonly cancel?: AbortSignal;
  /** Stops following without cancelling: the node continues, and the call fails with `TimedOut`. */
  readonly stop?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** A phone at one node. Its calls run one after the other, in the order in which they were made. */
export class Phone {
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #random: Random;
  #info: Info | undefined;
  #secret: PairingSecret | undefined;
  #session: Session | undefined;
  #changes: Status[] = [];
  #unanswered = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(transport: Transport, options: PhoneOptions = {}) {
    this.#transport = transport;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
  }

  /** Whether there is a session. A lost link ends it, which only the next request shows. */
  get isPaired(): boolean {
    return this.#session !== undefined;
  }

  /** Reads the node's info, in clear and not authenticated. */
  info(): Promise<Info> {
    return this.#inTurn(() => this.#readInfo());
  }

  /** Reads the node's state, in clear and not authenticated. */
  publicStatus(): Promise<PublicStatus> {
    return this.#inTurn(async () => decodePublicStatus(await this.#transport.read("status")));
  }

  /**
   * Opens a session. With the code this is one guess: after `WrongCode`, ask the owner again. The secret is kept for
   * {@link bringOnline} to connect again, and erased by {@link close}.
   */
  pair(secret: PairingSecret): Promise<void> {
    return this.#inTurn(async () => {
      this.#unanswered = 0;
      try {
        await this.#pairOnce(secret);
      } catch (error) {
        // The link has ended, such as while the owner read the label.
        if (!isNamed(error, "LinkLost") && !isNamed(error, "NotAuthenticated")) {
          throw error;
        }
        await this.#reconnect();
        await this.#pairOnce(secret);
      }
    });
  }

  /** Connects and pairs again with the secret of the last session, after an error that says that the session is over. */
  restore(patience = PATIENCE): Promise<Status> {
    return this.#inTurn(() => this.#within(patience, (limit) => this.#restore(limit)));
  }

  /**
   * The networks in range of the node, strongest first. With `fresh`, the node scans even if it has a recent list. `country` is the
   * one that the node is in: without it, the radio of some nodes is off.
   */
  scan(fresh = false, country = ""): Promise<Network[]> {
    return this.#inTurn(async () => {
      const to = await this.#request("scan", { kind: "scan", fresh, country });
      return this.#within(REPLY_LIMIT, async (limit) => {
        const found: Network[] = [];
        for (;;) {
          const reply = await this.#reply(to, limit);
          if (reply.kind !== "networks") {
            throw new ProvisioningError("UnexpectedAnswer");
          }
          found.push(...reply.networks);
          if (reply.last) {
            return found;
          }
        }
      });
    });
  }

  /** Sends the settings key. The node has stored it when this resolves. */
  sendK2(k2: K2): Promise<void> {
    return this.#inTurn(async () => {
      const reply = await this.#ask("k2", { kind: "k2", k2 });
      if (reply.kind !== "k2Stored" || reply.kid !== k2.kid) {
        throw new ProvisioningError("UnexpectedAnswer");
      }
    });
  }

  /** Sends a request of `NetworkCare`; returns its replies, several for a list. */
  care(request: CareRequest): Promise<CareReply[]> {
    return this.#inTurn(async () => {
      const to = await this.#request("credentials", { kind: "care", request });
      return this.#within(CARE_LIMIT, async (limit) => {
        const replies: CareReply[] = [];
        for (;;) {
          const reply = await this.#reply(to, limit);
          if (reply.kind !== "care") {
            throw new ProvisioningError("UnexpectedAnswer");
          }
          replies.push(reply.reply);
          if (!("last" in reply.reply.value) || reply.reply.value.last) {
            return replies;
          }
        }
      });
    });
  }

  /** The node's state, or the outcome of its last attempt. */
  status(): Promise<Status> {
    return this.#inTurn(() => this.#askStatus());
  }

  /**
   * Sends credentials and follows the attempt to its outcome, across lost links and restarts of the node. They may be sent more
   * than once; the node recognizes them by their `requestId`.
   *
   * @returns the outcome: `PROVISIONED`, or `ERROR` with its fault. After `retryable` the session still works.
   */
  bringOnline(credentials: Credentials, options: AttemptOptions = {}): Promise<Status> {
    return this.#inTurn(() =>
      this.#cancellable(credentials.requestId, options, (limit) => this.#attempt(credentials, limit, options)),
    );
  }

  /** Follows an attempt that the node has accepted to its outcome. */
  follow(requestId: bigint, options: AttemptOptions = {}): Promise<Status> {
    return this.#inTurn(() => this.#cancellable(requestId, options, (limit) => this.#follow(requestId, limit, options)));
  }

  /** Cancels an attempt; returns its outcome, which is another one than `Cancelled` if it was too late. */
  cancel(requestId: bigint, patience = PATIENCE): Promise<Status> {
    return this.#inTurn(() => this.#within(patience, (limit) => this.#cancel(requestId, limit)));
  }

  /** Ends session and link, and erases the secrets. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      this.#endSession();
      this.#secret?.wipe();
      this.#secret = undefined;
      await this.#transport.close();
    });
  }

  /** Runs one call after the other: a node takes one request at a time over HTTP. */
  #inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(act, act);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Runs with a time limit, which the signals shorten. */
  async #within<Result>(
    milliseconds: number,
    act: (limit: Limit) => Promise<Result>,
    ...signals: (AbortSignal | undefined)[]
  ): Promise<Result> {
    const limit = new Limit(this.#clock, milliseconds, ...signals);
    try {
      return await act(limit);
    } finally {
      limit.end();
    }
  }

  async #readInfo(): Promise<Info> {
    this.#info = decodeInfo(await this.#transport.read("info"));
    return this.#info;
  }

  async #pairOnce(secret: PairingSecret): Promise<void> {
    try {
      await this.#handshake(secret);
    } catch (error) {
      // The node was registered, and so has another id, after its info was read.
      if (!isNamed(error, "AnotherDevice")) {
        throw error;
      }
      await this.#handshake(secret);
    }
  }

  async #handshake(secret: PairingSecret): Promise<void> {
    this.#endSession();
    const { nodeId } = this.#info ?? (await this.#readInfo());
    // It may be outdated at the next handshake.
    this.#info = undefined;
    const opening = new Opening(nodeId, secret, this.#random);
    if (secret.kind === "code") {
      this.#unanswered += 1;
    }
    await this.#transport.write("session", opening.open);
    const accept = await this.#within(REPLY_LIMIT, (limit) => this.#accept(limit));
    this.#session = opening.read(accept);
    if (this.#secret !== secret) {
      this.#secret?.wipe();
    }
    this.#secret = secret;
  }

  async #accept(limit: Limit): Promise<Accept> {
    for (;;) {
      const outbound = decodeOutbound(await this.#next(limit));
      // A record is one of an earlier session on this link.
      if (outbound.kind !== "record") {
        this.#unanswered = 0;
        if (outbound.kind === "refusal") {
          throw refusal(outbound);
        }
        return outbound.accept;
      }
    }
  }

  async #reconnect(): Promise<void> {
    await this.#transport.reconnect();
    // The node may have got another id meanwhile.
    this.#info = undefined;
  }

  #endSession(): void {
    this.#session?.wipe();
    this.#session = undefined;
    this.#changes = [];
  }

  /** Seals a request and writes it; returns the counter that identifies its replies. */
  async #request(endpoint: Writable, request: Request): Promise<bigint> {
    if (this.#session === undefined) {
      throw new ProvisioningError("NoSession");
    }
    const plaintext = encodeRequest(request);
    const record = this.#session.seal(endpoint, plaintext);
    wipe(plaintext);
    await this.#transport.write(endpoint, encodeRecord(record));
    return record.counter;
  }

  /** Sends a request that has one reply. */
  async #ask(endpoint: Writable, request: Request): Promise<Reply> {
    const to = await this.#request(endpoint, request);
    return this.#within(REPLY_LIMIT, (limit) => this.#reply(to, limit));
  }

  async #askStatus(): Promise<Status> {
    const reply = await this.#ask("status", { kind: "status" });
    if (reply.kind !== "status") {
      throw new ProvisioningError("UnexpectedAnswer");
    }
    return reply.status;
  }

  /** The next reply to the request with that counter. Events that arrive before it are kept. */
  async #reply(to: bigint, limit: Limit): Promise<Reply> {
    for (;;) {
      const message = await this.#message(limit);
      if (message.kind === "event") {
        this.#changes.push(message.status);
      } else if (message.to === to) {
        if (message.reply.kind === "refused") {
          throw ProvisioningError.ofFault(message.reply.fault);
        }
        return message.reply;
      }
    }
  }

  async #message(limit: Limit): Promise<Message> {
    if (this.#session === undefined) {
      throw new ProvisioningError("NoSession");
    }
    const outbound = decodeOutbound(await this.#next(limit));
    switch (outbound.kind) {
      case "refusal":
        throw refusal(outbound);
      case "accept":
        throw new ProvisioningError("UnexpectedAnswer");
      case "record":
        return decodeMessage(this.#session.open(outbound.record));
    }
  }

  async #next(limit: Limit): Promise<Uint8Array> {
    const message = await this.#transport.receive(limit.signal);
    if (message === undefined) {
      throw new ProvisioningError("TimedOut");
    }
    return message;
  }

  /** Follows an attempt, and cancels it if that is asked for meanwhile. */
  async #cancellable(requestId: bigint, options: AttemptOptions, act: (limit: Limit) => Promise<Status>): Promise<Status> {
    const { patience = PATIENCE, cancel, stop } = options;
    const whole = async (limit: Limit) => {
      try {
        return await this.#within(limit.rest(), act, cancel, limit.signal);
      } catch (error) {
        if (cancel?.aborted === true && passes(error)) {
          return await this.#cancel(requestId, limit);
        }
        throw error;
      }
    };
    return this.#within(patience, whole, stop);
  }

  async #attempt(credentials: Credentials, limit: Limit, options: AttemptOptions): Promise<Status> {
    for (let isRepeated = false; ; isRepeated = true) {
      try {
        await this.#sendCredentials(credentials);
      } catch (error) {
        if (limit.signal.aborted) {
          throw error;
        }
        if (isRepeated && isNamed(error, "InProgress")) {
          // The attempt has ended, and its outcome is being stored.
          await this.#clock.sleep(PAUSE.first, limit.signal);
        } else if (passes(error)) {
          // A status with this id may be of an attempt that is not on disk yet: only `accepted` is a promise.
          await this.#restoreAndShow(limit, options);
        } else {
          throw error;
        }
        continue;
      }
      options.onProgress?.({ kind: "accepted" });
      try {
        return await this.#follow(credentials.requestId, limit, options);
      } catch (error) {
        // The node restarted before it had stored the attempt.
        if (!isNamed(error, "NoAttempt") || limit.signal.aborted) {
          throw error;
        }
      }
    }
  }

  async #sendCredentials(credentials: Credentials): Promise<void> {
    const time = BigInt(Math.floor(Date.now() / 1000));
    const reply = await this.#ask("credentials", { kind: "credentials", credentials: { time, ...credentials } });
    if (reply.kind !== "accepted" || reply.requestId !== credentials.requestId) {
      throw new ProvisioningError("UnexpectedAnswer");
    }
    // What arrived before is about an earlier attempt.
    this.#changes = [];
  }

  async #follow(requestId: bigint, limit: Limit, options: AttemptOptions): Promise<Status> {
    for (;;) {
      let status: Status;
      try {
        status = this.#changes.shift() ?? (await this.#nextChange(limit));
      } catch (error) {
        if (!passes(error) || limit.signal.aborted) {
          throw error;
        }
        status = await this.#restoreAndShow(limit, options);
        if (status.requestId !== requestId) {
          throw new ProvisioningError("NoAttempt");
        }
      }
      if (status.requestId === requestId) {
        options.onProgress?.({ kind: "status", status });
        if (isEnd(status)) {
          return status;
        }
      }
    }
  }

  async #nextChange(limit: Limit): Promise<Status> {
    for (;;) {
      const message = await this.#message(limit);
      if (message.kind === "event") {
        return message.status;
      }
    }
  }

  async #cancel(requestId: bigint, limit: Limit): Promise<Status> {
    for (;;) {
      try {
        const reply = await this.#ask("credentials", { kind: "cancel", requestId });
        if (reply.kind !== "status") {
          throw new ProvisioningError("UnexpectedAnswer");
        }
        return isEnd(reply.status) ? reply.status : await this.#follow(requestId, limit, {});
      } catch (error) {
        if (isNamed(error, "Malformed") && error instanceof ProvisioningError && error.number !== undefined) {
          throw new ProvisioningError("CannotCancel");
        }
        if (!(passes(error) || isNamed(error, "NoSession")) || limit.signal.aborted) {
          throw error;
        }
        await this.#restore(limit);
      }
    }
  }

  async #restoreAndShow(limit: Limit, options: AttemptOptions): Promise<Status> {
    options.onProgress?.({ kind: "lost" });
    const status = await this.#restore(limit);
    options.onProgress?.({ kind: "back" });
    return status;
  }

  /** Opens a new link and a new session with the secret of the last one; returns the node's status. */
  async #restore(limit: Limit): Promise<Status> {
    const secret = this.#secret;
    if (secret === undefined) {
      throw new ProvisioningError("NoSession");
    }
    this.#unanswered = 0;
    for (let pause = PAUSE.first; ; pause = Math.min(pause * 2, PAUSE.longest)) {
      try {
        await this.#reconnect();
        await this.#pairOnce(secret);
        return await this.#askStatus();
      } catch (error) {
        if (!passes(error) || this.#unanswered >= UNANSWERED_LIMIT || limit.signal.aborted) {
          throw error;
        }
      }
      await this.#clock.sleep(pause, limit.signal);
      if (limit.signal.aborted) {
        throw new ProvisioningError("TimedOut");
      }
    }
  }
}

function refusal({ fault, retryAfterSeconds }: { fault: number; retryAfterSeconds: number }): ProvisioningError {
  return ProvisioningError.ofFault(fault, { retryAfterSeconds, unsealed: true });
}

/** Whether an attempt has ended, and the node takes the next one. */
function isEnd({ state, retryable }: Status): boolean {
  return state === "PROVISIONED" || (state === "ERROR" && retryable);
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof ProvisioningError && error.name === name;
}

/** Whether the same can succeed on a new link. */
function passes(error: unknown): boolean {
  if (!(error instanceof ProvisioningError)) {
    return false;
  }
  switch (error.name) {
    case "LinkLost":
    case "TimedOut":
    case "AnotherDevice":
    case "NotAuthenticated":
      return true;
    case "Busy":
    case "StorageFailed":
      return error.unsealed;
    default:
      return false;
  }
}
