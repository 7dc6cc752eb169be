// Sign people in at the user pool: authorization code with PKCE (RFC 7636), as a public client has to (RFC 9700).
// The access token is in the memory of this module alone; a reload forgets it. The other tokens are dropped unread.

const PENDING = "kennel-sign-in"; // name in sessionStorage of what must survive the redirect; it is used once

let pool; // the user pool's origin and the client's id; undefined where the API asks for a key
let token = "";

/** The sign-in was refused, by the user pool or by this page. The message is for people. */
export class SignInError extends Error {}

/**
 * Ask the API how its callers show who they are, and finish a sign-in that was begun before a redirect to this page.
 *
 * @returns {Promise<boolean>} whether people sign in; otherwise the API asks for a key.
 * @throws {SignInError} the sign-in is refused; people may try again.
 * @throws {Error} the API cannot be reached.
 */
export async function prepare() {
  const answer = takeAnswer();
  if (!pool) {
    const response = await fetch("sign-in");
    if (!response.ok) throw new Error(`the answer has status ${response.status}`);
    const configuration = await response.json();
    if (configuration.with === "key") return false;
    pool = configuration;
  }
  if (answer) await exchange(answer);
  return true;
}

/** Whether there is an access token. The API says when it has expired. */
export function isSignedIn() {
  return Boolean(token);
}

/** The header that shows who asks. */
export function header() {
  return { authorization: `Bearer ${token}` };
}

/** Forget the token, which the API has refused. */
export function forget() {
  token = "";
}

/** Leave for the user pool's page, which comes back to this one. */
export async function begin() {
  const [state, verifier] = [randomText(), randomText()];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  sessionStorage.setItem(PENDING, JSON.stringify({ state, verifier }));
  visit("oauth2/authorize", {
    response_type: "code",
    redirect_uri: here(),
    scope: "openid",
    state,
    code_challenge: base64Url(digest),
    code_challenge_method: "S256",
  });
}

/** Forget the token, and leave for the user pool, which ends its own session and comes back to this page. */
export function end() {
  token = "";
  visit("logout", { logout_uri: here() });
}

/** Take the user pool's answer out of the address bar, and with it what this page kept for it. */
function takeAnswer() {
  const parameters = new URLSearchParams(location.search);
  if (!parameters.has("code") && !parameters.has("error")) return undefined;
  history.replaceState(null, "", here()); // A code in the history or in a bookmark is of no use to anybody.
  const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? "{}");
  sessionStorage.removeItem(PENDING);
  return { code: parameters.get("code"), state: parameters.get("state"), pending };
}

async function exchange({ code, state, pending }) {
  if (!pending.state || state !== pending.state) throw new SignInError("This page did not begin that sign-in.");
  if (!code) throw new SignInError("The sign-in was refused.");
  const response = await fetch(`${pool.origin}/oauth2/token`, {
    method: "POST",
    credentials: "omit",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: pool.client_id,
      redirect_uri: here(),
      code,
      code_verifier: pending.verifier,
    }),
  });
  if (!response.ok) throw new SignInError("The sign-in took too long, or its answer was used before.");
  token = (await response.json()).access_token;
}

function visit(path, parameters) {
  location.assign(`${pool.origin}/${path}?${new URLSearchParams({ client_id: pool.client_id, ...parameters })}`);
}

/** The address of this page without what follows the path. The user pool knows it exactly so. */
function here() {
  return location.origin + location.pathname;
}

function randomText() {
  return base64Url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64Url(bytes) {
  const text = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
