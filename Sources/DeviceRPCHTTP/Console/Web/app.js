// The page: which view is shown, the connection to the server, and the key.
// @ts-check

import { $, announce, button, h, problemNote, put, setText } from "./dom.js";
import { key, setAsker, askKey, isAbort } from "./api.js";
import { askForKey, confirmDialog } from "./dialogs.js";
import { follow, restart, retry } from "./events.js";
import { forgetAll, reload, takeEvent } from "./store.js";

const VIEWS = [
  { path: /^\/?$/, load: () => import("./overview.js"), title: "Overview" },
  { path: /^\/devices\/?$/, load: () => import("./devices.js"), title: "Devices" },
  { path: /^\/devices\/([^/]+)\/?$/, load: () => import("./device.js"), title: "Device" },
  { path: /^\/calls\/?$/, load: () => import("./allcalls.js"), title: "Calls" },
  { path: /^\/feed\/?$/, load: () => import("./feed.js"), title: "Live feed" },
];

let controller = new AbortController();
let isFirst = true;

async function show() {
  controller.abort();
  const { signal } = (controller = new AbortController());
  const [path, query] = address();
  const view = VIEWS.find((one) => one.path.test(path));
  markLinks(path);
  const main = $("main");
  try {
    if (!view) throw { title: "There is no such page", detail: "The links above lead to those that there are." };
    const argument = decode(view.path.exec(path)?.[1] ?? "");
    const module = await view.load();
    if (signal.aborted) return;
    document.title = `${argument || view.title} · Device RPC`;
    put(main, module.view({ signal, argument, query: new URLSearchParams(query) }));
  } catch (error) {
    if (signal.aborted || isAbort(error)) return;
    const isLoading = error instanceof TypeError;
    put(main, h("h1", { tabindex: "-1" }, "Not shown"), problemNote(isLoading ? { title: "This view could not be loaded", detail: "" } : error),
      isLoading && button("Try again", () => location.reload()));
  }
  scrollTo(0, 0);
  if (!isFirst) /** @type {HTMLElement} */ (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  isFirst = false;
}

const address = () => (location.hash.slice(1) || "/").split("?", 2);

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function markLinks(path) {
  for (const link of $("nav").querySelectorAll("a")) {
    const target = (link.getAttribute("href") ?? "").slice(1);
    const isHere = target === "/" ? /^\/?$/.test(path) : path.startsWith(target);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const WORDS = { connecting: "Connecting", live: "Live", down: "No server", denied: "Not live", locked: "No key", busy: "Not live" };
let state = "connecting";

function showState(next, value) {
  const before = state;
  state = next;
  const link = $("link");
  link.dataset.state = next;
  setText(link, WORDS[next]);
  link.title = next === "live" ? "Events arrive as they happen" : "";
  const banner = $("banner");
  if (next === "live") {
    banner.hidden = true;
    put(banner);
    if (before === "down") announce("The server is there again");
  } else if (next === "down") {
    if (before !== "down") {
      put(banner, h("span", null, "The server cannot be reached. This page tries again by itself; what you typed stays."), button("Try now", retry));
    }
    banner.hidden = false;
  } else if (next === "denied" || next === "busy") {
    put(banner, h("span", null, `${value.title}. ${value.detail} What is shown does not follow events.`), button("Try again", retry));
    banner.hidden = false;
  } else {
    banner.hidden = true;
  }
}

function showKey() {
  setText($("key"), key.get() ? "Forget key" : "Enter key");
}

async function changeKey() {
  if (key.get()) {
    if (!(await confirmDialog("Forget the key?", "This tab then has no key. The key itself stays valid.", "Forget key", false))) return;
    key.forget();
    announce("The key is forgotten");
  } else if (!(await askKey(""))) return;
  showKey();
  forgetAll();
  reload();
  restart();
  void show();
}

setAsker(async (reason) => {
  const had = key.get();
  const text = await askForKey(reason);
  showKey();
  // The stream of events waits for a key, unless it is the one that asks.
  if (text && text !== had && state !== "connecting") restart();
  return text;
});
$("key").addEventListener("click", changeKey);
$("skip").addEventListener("click", (event) => {
  // The hash says which view is shown, so the link must not change it.
  event.preventDefault();
  $("main").focus();
});
addEventListener("hashchange", show);
showKey();
void show();
void follow({ event: takeEvent, state: showState });
