// A machine's console in a notebook's output: xterm.js over bytes that the kernel sends at the page's own pace.
//
// The machine's console is a file, and the file is the truth. A page asks for bytes from an offset on and grants
// credit; the kernel sends no more than that; the page grants more when it has taken them in. So a slow page holds nobody
// up, and every page goes at its own pace. What a page keeps is a ring: enough to draw the console anew when its output is
// rendered again. A terminal that cannot draw as fast as bytes arrive leaves some out, and says so where they would stand;
// so it does where a page lagged so far behind that the file had not kept them. The status line says what is out of view,
// and where the rest is.
//
// A guest's output is only ever drawn by the terminal. It cannot make links, set titles or reach the clipboard, and what
// a terminal answers to questions in it is never sent back: only lines that somebody typed are.
import { Terminal } from "@xterm/xterm";
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import xtermStyle from "@xterm/xterm/css/xterm.css";

const CREDIT = 1 << 21; // bytes that may be on their way to this page
const RING = 1 << 20; // bytes kept for drawing the console anew
const BEHIND = 1 << 19; // bytes that a terminal may be behind: about what its scrollback holds
const CALM = 1 << 15; // bytes at once above which a terminal pauses,
const PAUSE = 100; // for so many ms: a picture of a flood ten times a second is enough, and leaves the page to others
const SCROLLBACK = 5000; // lines
const LONGEST_LINE = 4000; // characters typed
const PATIENCE = 10000; // ms between two questions whether anybody is there; what is not answered by the next was in vain

const STYLE = `
.unibeam-console { border: 1px solid var(--jp-border-color2, #bbb); border-radius: 3px; background: #16191d; color: #e8eaed;
  font-family: var(--jp-ui-font-family, sans-serif); font-size: 12px; }
.unibeam-console .bar { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; padding: 3px 6px; background: #24292f; }
.unibeam-console .bar .name { font-weight: 600; margin-right: auto; }
.unibeam-console button { background: #3a424b; color: #fff; border: 1px solid #6b7480; border-radius: 3px; padding: 1px 8px;
  font: inherit; cursor: pointer; }
.unibeam-console button:focus-visible, .unibeam-console input:focus-visible { outline: 2px solid #8ab4f8; }
.unibeam-console input { background: #0f1215; color: #fff; border: 1px solid #6b7480; border-radius: 3px; padding: 1px 4px;
  font: inherit; width: 14em; }
.unibeam-console input::placeholder { color: #b8c0c8; }
.unibeam-console .screen { height: 18em; padding: 4px; overflow: hidden; resize: vertical; }
.unibeam-console .state { padding: 2px 6px; background: #24292f; color: #d6dade; min-height: 1.4em; }
.unibeam-console [hidden] { display: none; }
`;

const THEME = { background: "#16191d", foreground: "#e8eaed", cursor: "#e8eaed", selectionBackground: "#3d5a80" };

const FONT = "Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"; // drawn on a canvas: no CSS variables

const IGNORED = { 8: "links", 52: "the clipboard", 0: "titles", 1: "titles", 2: "titles" };

/** What this page has of the console: the offset it has read up to, and a ring of the last bytes. */
function makeStore(model) {
  const store = {
    page: crypto.randomUUID?.() ?? String(Math.random()),
    next: null, // offset of the next byte to come; null until the kernel said where it begins
    chunks: [],
    kept: 0,
    lost: 0, // bytes that the file did not keep until this page was ready for them
    whole: true, // whether the file has all that the machine wrote
    views: new Set(),
    asked: false, // whether a question is not answered yet
    silent: false, // whether nobody answers: the kernel is gone, or this page's line to it
  };

  store.ask = () => model.send({ do: "read", page: store.page, from: store.next, credit: CREDIT });

  store.look = () => {
    if (model.get("ended") || document.visibilityState !== "visible") return;
    store.hear(!store.asked);
    store.asked = true;
    try {
      model.send({ do: "there", page: store.page });
    } catch {
      store.hear(false); // The line to the kernel is closed.
    }
  };

  store.hear = (answered) => {
    if (answered) store.asked = false;
    if (store.silent === !answered) return;
    store.silent = !answered;
    for (const view of store.views) view.tell();
  };

  store.take = ({ from, lost, whole }, bytes) => {
    if (store.next === null) store.next = from;
    if (from !== store.next) return store.ask(); // After a gap: once more from where we are.
    if (lost > store.lost) for (const view of store.views) view.note(`${sizeText(lost - store.lost)} came too fast to be kept`);
    store.lost = lost;
    store.whole = whole;
    store.next += bytes.length;
    store.chunks.push(bytes);
    store.kept += bytes.length;
    while (store.kept - store.chunks[0].length >= RING) store.kept -= store.chunks.shift().length;
    for (const view of store.views) view.write(bytes);
    model.send({ do: "more", page: store.page, credit: bytes.length });
  };

  store.start = () => (store.next ?? store.kept) - store.kept; // offset of the first byte kept
  return store;
}

function count(bytes) {
  let lines = 0;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] === 10) lines++;
  return lines;
}

function sizeText(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1000 && unit < 3) {
    bytes /= 1000;
    unit++;
  }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function button(text, hint, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.title = hint;
  made.addEventListener("click", act);
  return made;
}

/** Lines typed here: edited and echoed in the page, sent whole. Anything a terminal would send by itself is dropped. */
function makeTyping(model, term) {
  let line = "";
  return (data) => {
    if (!model.get("takes_input") || data.startsWith("\x1b")) return;
    for (const character of data) {
      if (character === "\r" || character === "\n") {
        term.write("\r\n");
        model.send({ do: "type", line });
        line = "";
      } else if (character === "\x7f") {
        if (line) {
          line = [...line].slice(0, -1).join("");
          term.write("\b \b");
        }
      } else if (character >= " " && line.length < LONGEST_LINE) {
        line += character;
        term.write(character);
      }
    }
  };
}

function makeSearch(term, search) {
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "search";
  field.setAttribute("aria-label", "Search the console");
  const found = document.createElement("span");
  found.setAttribute("role", "status");
  const look = (backwards) => {
    if (!field.value) return;
    const hit = backwards ? search.findPrevious(field.value) : search.findNext(field.value);
    found.textContent = hit ? "" : "not found";
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation(); // A notebook's own shortcuts are not meant.
    if (event.key === "Enter") look(event.shiftKey);
    if (event.key === "Escape") term.focus();
  });
  return [field, button("Previous", "Search backwards (Shift-Enter)", () => look(true)),
    button("Next", "Search forwards (Enter)", () => look(false)), found];
}

async function copy(term, say) {
  const whole = !term.hasSelection();
  if (whole) term.selectAll();
  const text = term.getSelection();
  if (whole) term.clearSelection();
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${whole ? "everything in view" : "the selection"}.`);
  } catch {
    say("The browser does not let this page write to the clipboard.");
  }
}

function makeView(model, store, el) {
  const root = document.createElement("section");
  root.className = "unibeam-console";
  root.setAttribute("aria-label", `Console of ${model.get("name")}`);
  const style = document.createElement("style");
  style.textContent = xtermStyle + STYLE;
  const bar = document.createElement("div");
  bar.className = "bar";
  const screen = document.createElement("div");
  screen.className = "screen";
  const state = document.createElement("div");
  state.className = "state";
  root.append(style, bar, screen, state);
  el.append(root);

  const term = new Terminal({ scrollback: SCROLLBACK, convertEol: true, theme: THEME, fontSize: 12, cursorBlink: false,
    lineHeight: 1.2,
    minimumContrastRatio: 4.5, linkHandler: { activate() {} }, disableStdin: !model.get("takes_input"), fontFamily: FONT });
  for (const number of Object.keys(IGNORED)) term.parser.registerOscHandler(Number(number), () => true);
  const fit = new FitAddon();
  const search = new SearchAddon();
  term.loadAddon(fit);
  term.loadAddon(search);
  term.open(screen);

  const name = document.createElement("span");
  name.className = "name";
  name.textContent = model.get("name");
  const reader = button("Screen reader", "Let a screen reader follow the console", () => {
    term.options.screenReaderMode = !term.options.screenReaderMode;
    reader.setAttribute("aria-pressed", String(term.options.screenReaderMode));
  });
  reader.setAttribute("aria-pressed", "false");
  bar.append(name, ...makeSearch(term, search),
    button("Copy", "Copy the selection, or everything in view", () => copy(term, (text) => (state.textContent = text))), reader);

  let lines = 0;
  let skipped = store.next === null ? null : store.start(); // null until the first bytes say where they begin
  const tell = () => {
    const buffer = term.buffer.normal;
    const above = Math.max(0, lines - (buffer.baseY + buffer.cursorY));
    const live = model.get("ended") ? "ended" : model.get("takes_input") ? "live, takes input" : "live";
    const parts = [store.silent ? "nothing answers; if the kernel is not busy, run the cell again" : live,
      `${sizeText(store.next ?? 0)} received`];
    if (skipped) parts.push(`its first ${sizeText(skipped)} are not shown`);
    if (above) parts.push(`${above} lines above are out of view`);
    if (store.lost) parts.push(`${sizeText(store.lost)} came too fast to be kept`);
    if (skipped || above || !store.whole) parts.push(`${store.whole ? "all" : "what is kept"} of it is in ${model.get("path")}`);
    state.textContent = parts.join("; ");
    root.dataset.received = String(store.next ?? 0);
    root.dataset.lost = String(store.lost);
    root.dataset.rows = String(buffer.length);
  };
  let due = false;
  const tellSoon = () => {
    if (due) return;
    due = true;
    setTimeout(() => { due = false; tell(); }, 200);
  };

  let pending = [];
  let behind = 0;
  let left = 0; // bytes that were left out just before what is pending
  let drawing = false;
  const draw = () => {
    if (drawing || !pending.length) return;
    drawing = true;
    const flooded = behind > CALM;
    if (left) term.write(`\x1b[0m\r\n[${sizeText(left)} came too fast to be drawn]\r\n`);
    left = 0;
    const last = pending.pop();
    for (const bytes of pending) term.write(bytes);
    pending = [];
    behind = 0;
    term.write(last, () => setTimeout(() => {
      drawing = false;
      draw();
    }, flooded ? PAUSE : 0));
  };
  const encoder = new TextEncoder();
  const view = {
    tell,
    note: (text) => {
      const bytes = encoder.encode(`\x1b[0m\r\n[${text}]\r\n`);
      pending.push(bytes);
      behind += bytes.length;
    },
    write: (bytes) => {
      skipped ??= store.next - bytes.length;
      lines += count(bytes);
      pending.push(bytes);
      behind += bytes.length;
      while (behind - pending[0].length >= BEHIND) {
        const dropped = pending.shift();
        behind -= dropped.length;
        left += dropped.length;
      }
      draw();
      tellSoon();
    },
  };
  for (const chunk of store.chunks) view.write(chunk);
  store.views.add(view);
  term.onData(makeTyping(model, term));
  screen.addEventListener("keydown", (event) => event.stopPropagation());

  const resized = new ResizeObserver(() => { if (screen.clientWidth > 40) fit.fit(); });
  resized.observe(screen);
  const changed = () => {
    term.options.disableStdin = !model.get("takes_input");
    tell();
  };
  model.on("change:ended", changed);
  model.on("change:takes_input", changed);
  tell();
  return () => {
    store.views.delete(view);
    resized.disconnect();
    model.off("change:ended", changed);
    model.off("change:takes_input", changed);
    term.dispose();
  };
}

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = makeStore(model);
      model.on("msg:custom", (message, buffers) => {
        if (message.page !== store.page) return;
        store.hear(true);
        if (!buffers?.length) return;
        const data = buffers[0];
        store.take(message, new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength).slice());
      });
      store.ask();
      const timer = setInterval(store.look, PATIENCE);
      return () => clearInterval(timer);
    },
    render({ model, el }) {
      return makeView(model, store, el);
    },
  };
};
