const key = "flick-token";

/** @type {((token: string) => void)[]} */
const listeners = [];

/** The token for calls, kept for as long as this tab is open. */
export const session = {
  get token() {
    return sessionStorage.getItem(key) ?? "";
  },
  set token(token) {
    if (token) sessionStorage.setItem(key, token);
    else sessionStorage.removeItem(key);
    for (const listener of listeners) listener(token);
  },
  /** @param {(token: string) => void} listener is told of every change */
  onChange(listener) {
    listeners.push(listener);
  },
};
