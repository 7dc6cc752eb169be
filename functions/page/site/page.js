// Scale a photo down, send it to `classify` beside this page, and show the answer.

import * as signIn from "./sign-in.js";

const LONGEST_SIDE = 1024; // pixels of what is shown
const FIRST_SIDE = 512; // pixels of the shorter side of what is sent, until an answer says how many the model uses
const JPEG_QUALITY = 0.9; // as the prediction function makes photos smaller
// The probabilities are calibrated: below 0.5 the most probable breed is more often wrong than right.
const SURE = 0.5;
const KEY = "kennel-api-key"; // name of the API key in localStorage

const find = (id) => document.getElementById(id);
const [answer, canvas, ranking, retry] = ["answer", "canvas", "ranking", "retry"].map(find);

let key = "";
let signsIn; // whether people sign in; undefined until the API has said so
let photo; // the photo to classify, as JPEG
let original; // the picture that it was made from; a file has a size, in bytes, and a picture of the page has none
let missing; // pixels by which the shorter side of the photo is less than that of the picture
let side; // pixels of the shorter side of the photo
let shortestSide = FIRST_SIDE;
let attempt = new AbortController(); // The next attempt aborts this one.

// From a picture to a photo ---------------------------------------------------------------------

/** Show a picture (a file or an image of the page) and classify it. */
async function look(picture) {
  const signal = begin();
  let bitmap;
  try {
    bitmap = await createImageBitmap(picture); // The bitmap is upright: the browser applies the EXIF orientation.
  } catch {
    if (signal.aborted) return;
    canvas.hidden = true;
    say("I cannot open this", "I can open JPEG, PNG and WebP photos. Take a screenshot of a HEIC photo and choose that.");
    return;
  }
  if (signal.aborted) return;
  draw(bitmap, canvas, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  canvas.hidden = false;
  find("frame").scrollIntoView({ block: "nearest" });
  const small = document.createElement("canvas");
  const whole = Math.min(bitmap.width, bitmap.height);
  draw(bitmap, small, shortestSide / whole);
  bitmap.close();
  const drawn = await new Promise((done) => small.toBlob(done, "image/jpeg", JPEG_QUALITY));
  if (signal.aborted) return;
  if (!drawn) {
    say("I cannot scale this", "This browser does not let me make a small copy, and I do not send the photo itself.");
    return;
  }
  photo = drawn;
  original = picture;
  side = Math.min(small.width, small.height);
  missing = whole - side;
  ask();
}

/** Draw a bitmap on a canvas, scaled down by a factor; never larger than it is. */
function draw(bitmap, target, factor) {
  const scale = Math.min(1, factor);
  target.width = Math.max(1, Math.round(bitmap.width * scale));
  target.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = target.getContext("2d");
  pen.fillStyle = "white"; // JPEG would turn transparent pixels black.
  pen.fillRect(0, 0, target.width, target.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, target.width, target.height);
}

// From a photo to an answer ---------------------------------------------------------------------

async function ask() {
  const signal = begin();
  try {
    if (signsIn === undefined) await prepare();
    if (signal.aborted) return;
    if (signsIn && !signIn.isSignedIn()) {
      return askToSignIn("One thing first", "Sign in, then show me the photo again.");
    }
    if (!signsIn && !key) return askForKey("One thing first", "I need an API key to answer.");
    const headers = { "content-type": "image/jpeg", ...credentials() };
    const response = await fetch("classify", { method: "POST", headers, body: photo, signal });
    const body = await response.json().catch(() => ({}));
    if (signal.aborted) return;
    if (response.ok) {
      shortestSide = body.shortest_side ?? FIRST_SIDE;
      if (missing && shortestSide > side) return look(original); // A model that uses more has taken over.
      showPrediction(body);
    }
    else if (response.status === 403 && !signsIn) refuseKey();
    else if (response.status === 401 && signsIn) signInAgain();
    else showProblem(response, body, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof signIn.SignInError) return askToSignIn("You are not signed in", error.message);
    say("No connection", "Kennel cannot be reached. Is this device online?");
    offerRetry(0, signal);
  }
}

/** Show a prediction. */
function showPrediction({ breed, probability, is_dog: isDog, top }) {
  if (!isDog) {
    say("No dog, as far as I can see", "If there is a dog, show me more of it. The photo resembles these breeds most:");
  } else if (probability < SURE) {
    say("Hard to say", "It may be a mix or a breed that I do not know, or I see too little of it. My guesses:");
  } else {
    say(breed, `I am ${percent(probability)} sure.`);
  }
  ranking.classList.toggle("doubtful", !isDog);
  ranking.replaceChildren(...top.map(rank));
  const isLess = photo.size < original.size; // A small file may become a larger JPEG.
  find("sent").textContent = `Sent ${bytes(photo.size)}${isLess ? ` of ${bytes(original.size)}` : ""}.`;
  find("sent").hidden = false;
}

function bytes(count) {
  return count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} KB` : `${(count / 1e6).toFixed(1)} MB`;
}

function rank({ breed, probability }) {
  const item = find("rank").content.cloneNode(true);
  item.querySelector(".breed").textContent = breed;
  item.querySelector(".share").textContent = percent(probability);
  item.querySelector(".bar").style.setProperty("--share", probability);
  return item;
}

function percent(probability) {
  if (probability < 0.005) return "<1%";
  return probability > 0.995 ? ">99%" : `${Math.round(100 * probability)}%`;
}

/** Show a problem document. */
function showProblem(response, problem, signal) {
  const { status, headers } = response;
  const isTemporary = status === 429 || status >= 500;
  const headline = { 429: "Too many requests", 503: "I am not ready right now" }[status];
  const fallback = isTemporary ? "Something went wrong" : "I cannot take this photo";
  say(headline ?? fallback, sentence(problem.detail ?? `the answer has status ${status}`), problem.correlation_id);
  if (isTemporary) offerRetry(Number(headers.get("retry-after")), signal);
}

function sentence(words) {
  return words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

/** Count the seconds down, then offer to try again. */
function offerRetry(seconds, signal) {
  if (signal.aborted) return;
  retry.hidden = false;
  retry.disabled = seconds > 0;
  const left = seconds > 90 ? `${Math.ceil(seconds / 60)} min` : `${seconds} s`;
  retry.textContent = seconds > 0 ? `Try again in ${left}` : "Try again";
  if (seconds > 0) setTimeout(offerRetry, 1000, seconds - 1, signal);
}

/** Abort the last attempt and begin a new one. Its signal is aborted when the next attempt begins. */
function begin() {
  attempt.abort();
  attempt = new AbortController();
  say("Looking …", "");
  answer.classList.add("busy");
  return attempt.signal;
}

function say(headline, explanation, reference = "") {
  answer.classList.remove("busy");
  find("headline").textContent = headline;
  find("explanation").textContent = explanation;
  find("reference").querySelector("code").textContent = reference;
  find("reference").hidden = !reference;
  ranking.replaceChildren();
  retry.hidden = find("access").hidden = find("sign-in").hidden = find("sent").hidden = true;
}

// Who asks --------------------------------------------------------------------------------------

/** Ask the API whether it wants a key or a sign-in, and finish a sign-in that led to this page. */
async function prepare() {
  try {
    signsIn = await signIn.prepare();
  } catch (error) {
    if (error instanceof signIn.SignInError) signsIn = true;
    throw error;
  } finally {
    if (signsIn !== undefined) setKey(signsIn ? "" : storedKey());
  }
}

function credentials() {
  return signsIn ? signIn.header() : { "x-api-key": key };
}

function askToSignIn(headline, explanation) {
  say(headline, explanation);
  find("sign-in").hidden = false;
  find("sign-in").querySelector("button").focus();
}

function signInAgain() {
  signIn.forget();
  showAccess();
  askToSignIn("Please sign in again", "A sign-in lasts an hour. Then show me the photo again.");
}

/** Show what only those may use who are known. */
function showAccess() {
  find("breeds").hidden = signsIn ? !signIn.isSignedIn() : !key;
  find("forget").hidden = !key;
  find("sign-out").hidden = !signIn.isSignedIn();
}

// The API key -----------------------------------------------------------------------------------

function askForKey(headline, explanation) {
  say(headline, explanation);
  find("access").hidden = false;
  find("key").focus();
}

function refuseKey() {
  setKey("");
  askForKey("I do not know this key", "Check that it is complete and that it belongs to this Kennel.");
}

function setKey(value) {
  key = value;
  showAccess();
  try {
    if (key) localStorage.setItem(KEY, key);
    else localStorage.removeItem(KEY);
  } catch {
    // Without storage the browser keeps the key until the page is closed.
  }
}

function storedKey() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

// What people do --------------------------------------------------------------------------------

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    if (input.files.length) look(input.files[0]);
    input.value = ""; // Otherwise choosing the same file again would raise no event.
  });
}
for (const type of ["dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    event.preventDefault(); // Otherwise the browser would open the file.
    document.body.classList.toggle("dragging", type === "dragover");
    if (type === "drop") look(event.dataTransfer.files[0]);
  });
}
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) look(event.clipboardData.files[0]);
});
find("frame").addEventListener("click", () => find("file").click());
retry.addEventListener("click", () => {
  answer.focus();
  ask();
});
find("access").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(find("key").value.trim());
  find("key").value = "";
  answer.focus();
  ask();
});
find("forget").addEventListener("click", () => {
  attempt.abort();
  setKey("");
  say("Key forgotten", "I will ask for an API key next time.");
});
find("breeds").addEventListener("toggle", async () => {
  if (!find("breeds").open) return;
  const list = find("breeds").querySelector("p");
  try {
    const response = await fetch("breeds", { headers: credentials() });
    list.textContent = (await response.json()).breeds.join(", ");
  } catch {
    list.textContent = "The list is not available right now.";
  }
});
find("sign-in")
  .querySelector("button")
  .addEventListener("click", () =>
    signIn.begin().catch(() => {
      askToSignIn("I cannot sign you in", "This browser keeps nothing for this page, and a sign-in needs that.");
    }),
  );
find("sign-out").addEventListener("click", () => signIn.end());
try {
  await prepare();
  if (signsIn && !signIn.isSignedIn()) askToSignIn("Sign in first", "I answer people who have an account here.");
} catch (error) {
  // Without a connection, the first photo asks again.
  if (error instanceof signIn.SignInError) askToSignIn("You are not signed in", error.message);
}
// Load one picture after the other: each parallel request would start its own instance of the function.
for (const button of document.querySelectorAll(".examples button")) {
  const example = button.firstElementChild;
  button.addEventListener("click", () => look(example));
  example.src = example.dataset.src;
  await example.decode().then(() => (button.disabled = false), () => {});
}
