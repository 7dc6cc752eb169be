// A photo is scaled down here and sent to `classify` beside this page; the answer is shown.

const LONGEST_SIDE = 1024; // pixels; the model looks at fewer
const JPEG_QUALITY = 0.9;
const SURE = 0.5; // stated probabilities are calibrated: below it the likeliest breed is more often wrong than right
const KEY = "kennel-api-key"; // in localStorage

const find = (id) => document.getElementById(id);
const [answer, canvas, ranking, retry] = ["answer", "canvas", "ranking", "retry"].map(find);

let key = "";
let photo; // what is to be named, as JPEG
let attempt = new AbortController(); // to name it; the next one aborts it

// From a picture to a photo ---------------------------------------------------------------------

/** Take up a picture (a file or an image of the page) in place of the one before. */
async function look(picture) {
  const signal = begin();
  let bitmap;
  try {
    bitmap = await createImageBitmap(picture); // upright, whatever its EXIF says
  } catch {
    if (signal.aborted) return;
    canvas.hidden = true;
    say("I cannot open this", "A photo as JPEG, PNG or WebP I can; of an iPhone’s HEIC photo, take a screenshot.");
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
  pen.fillStyle = "white"; // below what is transparent, which JPEG would make black
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  canvas.hidden = false;
  find("frame").scrollIntoView({ block: "nearest" });
}

// From a photo to an answer ---------------------------------------------------------------------

async function ask() {
  if (!key) return askForKey("One thing first", "I answer those who have an API key.");
  const signal = begin();
  try {
    const headers = { "content-type": "image/jpeg", "x-api-key": key };
    const response = await fetch("classify", { method: "POST", headers, body: photo, signal });
    const said = await response.json().catch(() => ({}));
    if (signal.aborted) return;
    if (response.ok) tell(said);
    else if (response.status === 403) refuseKey();
    else excuse(response, said, signal);
  } catch {
    if (signal.aborted) return;
    say("No connection", "I cannot be reached. Is this device online?");
    offerRetry(0, signal);
  }
}

/** Show a prediction. */
function tell({ breed, probability, is_dog: isDog, top }) {
  if (!isDog) {
    say("No dog, as far as I can see", "If there is one, show me more of it. If not, this is what it resembles:");
  } else if (probability < SURE) {
    say("Hard to say", "It may be a mix, a breed that I do not know, or too little of it in the picture. My guesses:");
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
function excuse(response, said, signal) {
  const { status, headers } = response;
  const passing = status === 429 || status >= 500;
  const headline = { 429: "Too many questions", 503: "I am not ready just now" }[status];
  const fallback = passing ? "Something went wrong" : "I cannot take this photo";
  say(headline ?? fallback, sentence(said.detail ?? `the answer was ${status}`), said.correlation_id);
  if (passing) offerRetry(Number(headers.get("retry-after")), signal);
}

function sentence(words) {
  return words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

/** Offer to ask again once the seconds are counted down. */
function offerRetry(seconds, signal) {
  if (signal.aborted) return;
  retry.hidden = false;
  retry.disabled = seconds > 0;
  const left = seconds > 90 ? `${Math.ceil(seconds / 60)} min` : `${seconds} s`;
  retry.textContent = seconds > 0 ? `Try again in ${left}` : "Try again";
  if (seconds > 0) setTimeout(offerRetry, 1000, seconds - 1, signal);
}

/** Begin an attempt in place of the one before; its signal tells when it is no longer wanted. */
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
  askForKey("I do not know this key", "Is it whole, and for this Kennel?");
}

function setKey(given) {
  key = given;
  find("breeds").hidden = find("forget").hidden = !key;
  try {
    if (key) localStorage.setItem(KEY, key);
    else localStorage.removeItem(KEY);
  } catch {
    // Where storage is switched off, the key lasts as long as the page.
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
    input.value = ""; // so that the same file may be chosen again
  });
}
for (const type of ["dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    event.preventDefault(); // or the browser would open the file
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
  say("Forgotten", "I shall ask for an API key next time.");
});
find("breeds").addEventListener("toggle", async () => {
  if (!find("breeds").open) return;
  const list = find("breeds").querySelector("p");
  try {
    const response = await fetch("breeds", { headers: { "x-api-key": key } });
    list.textContent = (await response.json()).breeds.join(", ");
  } catch {
    list.textContent = "They cannot be had just now.";
  }
});
setKey(storedKey());
// One after the other: for pictures asked for at once, as many instances of the function would have to start.
for (const button of document.querySelectorAll(".examples button")) {
  const example = button.firstElementChild;
  button.addEventListener("click", () => look(example));
  example.src = example.dataset.src;
  await example.decode().then(() => (button.disabled = false), () => {});
}
