/**
 * One DEALER socket and its monitor.
 *
 * libzmq reconnects by itself and in silence; the monitor tells when. A send that worked says nothing
 * about receipt, and one that failed means that the connection is gone: its end is about to be told, and
 * everything that is not acknowledged is then sent again. So nobody waits for sends here.
 */
import { Dealer, Observer } from "zeromq";

/** What close() leaves unsent is given this long, in ms. */
const LINGER = 1000;
const HEARTBEAT_INTERVAL = 5000;
const HEARTBEAT_TIMEOUT = 15_000;
const RECONNECT_FIRST = 10;
const RECONNECT_LONGEST = 1000;
const OBSERVER_TRIES = 100;

/**
 * An observer of `socket`. The binding names it by its address in memory, which may be that of an
 * observer whose socket libzmq is still closing; the next one made has another address.
 */
function observe(socket: Dealer): Observer {
  for (let tries = 1; ; tries++) {
    try {
      return new Observer(socket);
    } catch (error) {
      const taken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
      if (taken && tries < OBSERVER_TRIES) continue;
      socket.close();
      throw error;
    }
  }
}

export interface ConnectionListener {
  /** A new connection stands: say hello. */
  connected(): void;
  disconnected(): void;
  received(frames: Buffer[]): void;
}

export class Connection {
  readonly #socket: Dealer;
  readonly #monitor: Observer;
  readonly #listener: ConnectionListener;
  #closed = false;

  /** @throws Error if libzmq cannot make sense of `url` */
  constructor(url: string, listener: ConnectionListener) {
    this.#listener = listener;
    this.#socket = new Dealer({
      immediate: true, // nothing is queued for a broker that is not there
      linger: LINGER,
      sendTimeout: 0,
      sendHighWaterMark: 0, // session_bytes is the bound
      heartbeatInterval: HEARTBEAT_INTERVAL,
      heartbeatTimeout: HEARTBEAT_TIMEOUT,
      reconnectInterval: RECONNECT_FIRST,
      reconnectMaxInterval: RECONNECT_LONGEST,
    });
    this.#monitor = observe(this.#socket);
    void this.#watch();
    try {
      this.#socket.connect(url);
    } catch (error) {
      this.close();
      throw error;
    }
    void this.#read();
  }

  /** Sends at once or not at all. `failed` is called, later, if it was not at all. */
  send(frames: Buffer[], failed?: () => void): void {
    if (this.#closed) return;
    this.#socket.send(frames).catch(() => failed?.());
  }

  /** Ends it. What was sent is still delivered, for a second at most. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  async #read(): Promise<void> {
    for (;;) {
      let frames: Buffer[];
      try {
        frames = await this.#socket.receive();
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
      if (this.#closed) return;
      this.#listener.received(frames);
    }
  }

  /**
   * Reads the monitor to its last event, also after close(): libzmq waits for its reader, and would wait
   * for ever, with all its sockets, for one that left.
   */
  async #watch(): Promise<void> {
    while (!this.#monitor.closed) {
      const event = await this.#monitor.receive();
      if (event.type === "end") return;
      if (this.#closed) continue;
      if (event.type === "handshake") this.#listener.connected();
      else if (event.type === "disconnect") this.#listener.disconnected();
    }
  }
}
