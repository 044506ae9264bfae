// Requests to the server, and what went wrong with them in one sentence.

const PATIENCE = 60_000; // milliseconds after which a server that does not answer is given up
const SLOW = 4_000; // milliseconds after which the page says that it still waits
const TRIES = 6; // of a server that is busy
const LARGE = 8 << 20; // bytes of a picture that a server may refuse before it has come
const KEY = "onelook-key"; // in the session's storage

/** What went wrong. `status` is that of HTTP, 0 where there was no answer; `ofPicture`: another picture may go well. */
export class Problem extends Error {
  constructor(message, status = 0, ofPicture = [400, 413, 415, 422, 500].includes(status)) {
    super(message);
    Object.assign(this, { status, ofPicture });
  }
}

export const setKey = (key) => sessionStorage.setItem(KEY, key);

export const url = (path) => new URL(path, document.baseURI).href;

/**
 * Asks the server, again where it is busy.
 *
 * @param options of `fetch`, with `say`, which is told in a sentence what is waited for, and `patience`, milliseconds.
 * @param read makes the result of a good answer, JSON by default.
 */
export async function ask(
  path,
  { say = () => {}, patience = PATIENCE, ...options } = {},
  read = (response) => response.json(),
) {
  for (let attempt = 1; ; attempt++) {
    const busy = await once(path, options, say, patience, async (response) => {
      if (response.status !== 429 || attempt === TRIES) {
        if (!response.ok && response.status !== 304) throw await problem(response);
        return { result: await read(response) };
      }
      return { seconds: Math.min(Math.max(Number(response.headers.get("Retry-After")) || 1, 1), 30) };
    });
    if ("result" in busy) return busy.result;
    for (let left = Math.ceil(busy.seconds); left > 0; left--) {
      say(`The server is busy; trying again in ${left} s.`);
      await pause(1000, options.signal);
    }
  }
}

async function once(path, { signal, headers, body, ...options }, say, patience, read) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  const end = setTimeout(abort, patience);
  const start = performance.now();
  const slow = setInterval(() => {
    say(`The server is still at it: ${Math.round((performance.now() - start) / 1000)} s so far.`);
  }, SLOW);
  const key = sessionStorage.getItem(KEY);
  try {
    const authorization = key ? { Authorization: `Bearer ${key}` } : {};
    const sent = { ...options, body, headers: { ...headers, ...authorization }, signal: controller.signal };
    return await read(await fetch(url(path), sent));
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (signal?.aborted) throw new DOMException("cancelled", "AbortError");
    if (controller.signal.aborted) throw new Problem(`The server has not answered within ${patience / 1000} seconds.`);
    if (error instanceof SyntaxError) throw new Problem("The server's answer cannot be read.");
    const large = body instanceof FormData && [...body.values()].some((file) => file.size > LARGE);
    const why = large ? ", or refuses a picture of this size" : "";
    throw new Problem(`The server cannot be reached${why}.`);
  } finally {
    clearTimeout(end);
    clearInterval(slow);
    signal?.removeEventListener("abort", abort);
  }
}

/** From application/problem+json, or whatever it is that a proxy answers. */
async function problem(response) {
  const { detail, title } = await response.json().catch(() => ({}));
  const said = detail || title || `${response.status} ${response.statusText}`.trim();
  return new Problem(sentence(said), response.status);
}

/** With a capital and a full stop. A name of a file at the start stays as it is. */
function sentence(text) {
  const first = /^[\w-]+[.:]/.test(text) ? text[0] : text[0].toUpperCase();
  return first + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Waits so many milliseconds, unless it is cancelled. */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const cancel = () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", cancel);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", cancel, { once: true });
  });
}
