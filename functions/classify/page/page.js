// Scale a photo down, send it to `classify` beside this page, and show the answer.

const LONGEST_SIDE = 1024; // pixels, more than the model needs
const JPEG_QUALITY = 0.9;
// The probabilities are calibrated: below 0.5 the most probable breed is more often wrong than right.
const SURE = 0.5;
const KEY = "kennel-api-key"; // name of the API key in localStorage

const find = (id) => document.getElementById(id);
const [answer, canvas, ranking, retry] = ["answer", "canvas", "ranking", "retry"].map(find);

let key = "";
let photo; // the photo to classify, as JPEG
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
  draw(bitmap);
  const drawn = await new Promise((done) => canvas.toBlob(done, "image/jpeg", JPEG_QUALITY));
  if (signal.aborted) return;
  photo = drawn;
  ask();
}

function draw(bitmap) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white"; // JPEG would turn transparent pixels black.
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  canvas.hidden = false;
  find("frame").scrollIntoView({ block: "nearest" });
}

// From a photo to an answer ---------------------------------------------------------------------

async function ask() {
  if (!key) return askForKey("One thing first", "I need an API key to answer.");
  const signal = begin();
  try {
    const headers = { "content-type": "image/jpeg", "x-api-key": key };
    const response = await fetch("classify", { method: "POST", headers, body: photo, signal });
    const body = await response.json().catch(() => ({}));
    if (signal.aborted) return;
    if (response.ok) showPrediction(body);
    else if (response.status === 403) refuseKey();
    else showProblem(response, body, signal);
  } catch {
    if (signal.aborted) return;
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
  retry.hidden = find("access").hidden = true;
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
  find("breeds").hidden = find("forget").hidden = !key;
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
    const response = await fetch("breeds", { headers: { "x-api-key": key } });
    list.textContent = (await response.json()).breeds.join(", ");
  } catch {
    list.textContent = "The list is not available right now.";
  }
});
setKey(storedKey());
// Load one picture after the other: each parallel request would start its own instance of the function.
for (const button of document.querySelectorAll(".examples button")) {
  const example = button.firstElementChild;
  button.addEventListener("click", () => look(example));
  example.src = example.dataset.src;
  await example.decode().then(() => (button.disabled = false), () => {});
}
