// What a notebook shows live besides the console: a panel of work and machines, the processes in one, and the dashboard of
// an experiment.
//
// The kernel sends plain data (`state`), this file makes elements of it, and sends back what was pressed. Text only ever
// becomes text: nothing here makes HTML of a string. Elements are kept and updated in place, so that focus stays where
// it is and nothing flickers. While a panel is in view it asks for fresh data every two seconds; out of view it is still.

const STYLE = `
.unibeam-face { font: inherit; font-size: var(--jp-ui-font-size1, 13px); color: var(--jp-ui-font-color1, inherit); max-width: 70em; }
.unibeam-face .head, .unibeam-face .machine-head, .unibeam-face .fields { display: flex; flex-wrap: wrap; gap: 6px 10px; align-items: center; }
.unibeam-face .title { font-weight: 600; }
.unibeam-face .quiet { color: var(--jp-ui-font-color1, inherit); }
.unibeam-face button { font: inherit; padding: 1px 10px; border: 1px solid var(--jp-border-color1, #888); border-radius: 3px;
  background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #000); cursor: pointer; }
.unibeam-face button:disabled { opacity: .55; cursor: default; }
.unibeam-face button:focus-visible, .unibeam-face input:focus-visible, .unibeam-face select:focus-visible,
.unibeam-face a:focus-visible { outline: 2px solid #1a6fc9; outline-offset: 1px; }
.unibeam-face a { color: var(--jp-content-link-color, #0b57d0); text-decoration: underline; }
.unibeam-face fieldset label { display: inline-block; margin-right: 12px; white-space: nowrap; }
.unibeam-face .machine { border-left: 3px solid #2980d9; padding: 2px 0 4px 8px; margin: 6px 0; }
.unibeam-face .machine.ended { border-left-color: #808080; }
.unibeam-face .bar { display: grid; grid-template-columns: 7em 240px auto; gap: 0 10px; align-items: center; }
.unibeam-face .track { height: 9px; background: #80808033; position: relative; }
.unibeam-face .fill { position: absolute; height: 9px; background: #2980d9; min-width: 2px; }
.unibeam-face .step { white-space: pre; }
.unibeam-face .message { font-weight: 600; }
.unibeam-face pre { margin: 4px 0; padding: 6px 8px; background: var(--jp-layout-color2, #eee); color: inherit; white-space: pre-wrap; }
.unibeam-face fieldset { border: 1px solid var(--jp-border-color2, #bbb); margin: 4px 0; padding: 4px 8px; }
.unibeam-face input[type=number] { width: 6em; }
.unibeam-face input, .unibeam-face select { font: inherit; color: inherit; background: var(--jp-layout-color1, #fff);
  border: 1px solid var(--jp-border-color1, #888); }
.unibeam-face svg { display: block; width: 100%; max-width: 760px; color: inherit; }
.unibeam-face svg text { fill: currentColor; font-size: 12px; }
.unibeam-face progress { width: 16em; }
.unibeam-face table { border-collapse: collapse; margin: 4px 0; }
.unibeam-face caption { text-align: left; padding: 2px 0; }
.unibeam-face th, .unibeam-face td { text-align: left; padding: 1px 10px 1px 0; white-space: nowrap; }
.unibeam-face thead th { border-bottom: 1px solid var(--jp-border-color1, #888); }
.unibeam-face .number { text-align: right; font-variant-numeric: tabular-nums; }
.unibeam-face [hidden] { display: none !important; }
`;

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function button(text, hint, act) {
  const made = make("button", "", text);
  made.type = "button";
  made.title = hint;
  made.addEventListener("click", act);
  return made;
}

/** Keep `parent`'s children in step with `items`: one child per key, made once, updated ever after. */
function keep(parent, items, keyOf, create, update) {
  const known = (parent.known ??= new Map());
  const wanted = new Set(items.map(keyOf));
  for (const [key, child] of known) {
    if (!wanted.has(key)) {
      child.remove();
      known.delete(key);
    }
  }
  items.forEach((item, index) => {
    let child = known.get(keyOf(item));
    if (!child) {
      child = create(item);
      known.set(keyOf(item), child);
    }
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    update(child, item);
  });
}

const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(2)} s`);

/** Ask the kernel for fresh data every two seconds while the element is in view of somebody. It always answers; where it
    does not, what is shown is old, and says so. */
function watch(model, root) {
  let visible = false;
  let unanswered = 0;
  const old = make("div", "message", "Nothing answers any more: this is how it last was. Run the cell again.");
  old.setAttribute("role", "status");
  old.hidden = true;
  root.append(old);
  const seen = new IntersectionObserver((entries) => (visible = entries.at(-1).isIntersecting));
  seen.observe(root);
  const answered = () => {
    unanswered = 0;
    old.hidden = true;
  };
  model.on("msg:custom", answered);
  const timer = setInterval(() => {
    if (!visible || document.visibilityState !== "visible" || !old.hidden) return;
    old.hidden = ++unanswered <= 5;
    try {
      model.send({ do: "refresh" });
    } catch {
      old.hidden = false; // The line to the kernel is closed.
    }
  }, 2000);
  return () => {
    clearInterval(timer);
    seen.disconnect();
    model.off("msg:custom", answered);
  };
}

// ---- the panel ---------------------------------------------------------------------------------------------------

function makeMachine(model, machine) {
  const box = make("div", "machine");
  const head = make("div", "machine-head");
  box.name = make("span", "title");
  box.state = make("span");
  box.state.setAttribute("role", "status");
  box.actions = make("span", "machine-head");
  head.append(box.name, box.state, box.actions);
  box.facts = make("div");
  box.links = make("div");
  box.marks = make("div");
  box.append(head, box.facts, box.links, box.marks);
  return box;
}

function updateMachine(model, box, machine) {
  box.classList.toggle("ended", !machine.alive);
  say(box.name, machine.name);
  say(box.state, machine.state);
  say(box.facts, machine.facts.join(" · "));
  keep(box.actions, machine.actions, (action) => action.do, (action) => button(action.text, action.hint,
    () => model.send({ do: action.do, machine: machine.id })), (child, action) => {
    child.disabled = action.off;
    child.setAttribute("aria-label", `${action.text} ${machine.name}`);
  });
  keep(box.links, machine.links, (link) => link.text, (link) => {
    const line = make("div");
    const anchor = make("a", "", link.text);
    if (/^https?:\/\/127\.0\.0\.1:\d+\//.test(link.url)) {
      anchor.href = link.url;
      anchor.target = "_blank";
      anchor.rel = "noopener noreferrer";
    }
    line.append(anchor);
    return line;
  }, () => {});
  const whole = Math.max(...machine.marks.map((mark) => mark.at), machine.now ?? 0, 0.001);
  let before = 0;
  const bars = machine.marks.map((mark) => {
    const bar = { ...mark, from: before };
    before = mark.at;
    return bar;
  });
  keep(box.marks, bars, (bar) => bar.name, (bar) => {
    const line = make("div", "bar");
    const track = make("span", "track");
    line.fill = make("span", "fill");
    track.append(line.fill);
    line.text = make("span");
    line.append(make("span", "quiet", bar.name), track, line.text);
    return line;
  }, (line, bar) => {
    line.fill.style.left = `${(100 * bar.from) / whole}%`;
    line.fill.style.width = `${(100 * (bar.at - bar.from)) / whole}%`;
    say(line.text, seconds(bar.at));
  });
}

function panel(model, root) {
  const head = make("div", "head");
  const title = make("span", "title");
  const status = make("span");
  status.setAttribute("role", "status");
  const stop = button("Stop", "Stop this work", () => {
    stop.disabled = true;
    model.send({ do: "cancel" });
  });
  head.append(title, status, stop);
  const steps = make("div");
  const machines = make("div");
  const message = make("div", "message");
  message.setAttribute("role", "alert");
  root.append(head, steps, machines, message);

  const draw = () => {
    const state = model.get("state");
    say(title, state.title ?? "");
    say(status, state.status ?? "");
    stop.hidden = !state.running;
    head.hidden = !state.title;
    keep(steps, (state.steps ?? []).map((text, index) => ({ text, index })), (step) => step.index,
      () => make("div", "step"), (child, step) => say(child, step.text));
    keep(machines, state.machines ?? [], (machine) => machine.id, (machine) => makeMachine(model, machine),
      (box, machine) => updateMachine(model, box, machine));
    say(message, state.message ?? "");
    message.hidden = !state.message;
  };
  draw();
  return draw;
}

// ---- the processes in a machine --------------------------------------------------------------------------------------

function top(model, root) {
  const first = model.get("state");
  const order = make("select");
  for (const by of first.orders) order.append(new Option(by, by));
  order.value = first.by;
  order.addEventListener("change", () => model.send({ do: "order", by: order.value }));
  order.addEventListener("keydown", (event) => event.stopPropagation());
  const head = make("div", "head");
  head.append(make("span", "title", first.title), field("ordered by", order));
  const facts = make("div");
  const table = make("table");
  const caption = make("caption");
  const columns = make("tr");
  first.columns.forEach((name, index) => {
    const cell = make("th", first.numeric.includes(index) ? "number" : "", name);
    cell.scope = "col";
    columns.append(cell);
  });
  const above = make("thead");
  above.append(columns);
  const body = make("tbody");
  table.append(caption, above, body);
  const message = make("div", "message");
  message.setAttribute("role", "alert");
  root.append(head, facts, table, message);

  const draw = () => {
    const state = model.get("state");
    keep(facts, state.facts, (fact) => fact[0], () => make("div"), (line, fact) => say(line, `${fact[0]}: ${fact[1]}`));
    say(caption, state.caption);
    keep(body, state.rows, (row) => row[0], (row) => {
      const line = make("tr");
      row.forEach((_, index) => line.append(make("td", state.numeric.includes(index) ? "number" : "")));
      return line;
    }, (line, row) => row.forEach((word, index) => say(line.children[index], word)));
    say(message, state.message);
    message.hidden = !state.message;
  };
  draw();
  return draw;
}

// ---- the dashboard -----------------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

const LEFT = 230;
const WIDE = 740;
const ROW = 30;

/** Round numbers up to `most`, at most seven: their words have to fit beside each other. */
function ticks(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.2, 0.5, 1, 2].map((part) => part * power).find((each) => most / each < 7);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
}

/** Every boot as a dot, in a row for its case; the median as a bar. Drawn anew at most once a second, by the kernel's pace. */
function chart(svg, state) {
  const rows = state.cases ?? [];
  const most = Math.max(...state.samples.map((sample) => sample[1]), 0.001) * 1.05;
  const x = (value) => LEFT + ((WIDE - LEFT - 70) * value) / most;
  const parts = [];
  for (const tick of ticks(most)) {
    parts.push(drawn("line", { x1: x(tick), x2: x(tick), y1: 4, y2: rows.length * ROW + 4, stroke: "currentColor", "stroke-opacity": 0.15 }));
    parts.push(drawn("text", { x: x(tick), y: rows.length * ROW + 20, "text-anchor": "middle" }, seconds(tick)));
  }
  rows.forEach((name, row) => {
    const y = row * ROW + ROW / 2 + 4;
    const own = state.samples.filter((sample) => sample[0] === row);
    const good = own.filter((sample) => sample[2]).map((sample) => sample[1]).sort((a, b) => a - b);
    parts.push(drawn("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, name));
    for (const sample of own) {
      parts.push(drawn("circle", { cx: x(sample[1]), cy: y, r: 4, fill: sample[2] ? "#2980d9" : "none", stroke: "#2980d9", "fill-opacity": 0.55 }));
    }
    if (good.length) {
      const median = (good[(good.length - 1) >> 1] + good[good.length >> 1]) / 2;
      parts.push(drawn("line", { x1: x(median), x2: x(median), y1: y - 11, y2: y + 11, stroke: "currentColor", "stroke-width": 2 }));
      parts.push(drawn("text", { x: WIDE - 62, y: y + 4 }, seconds(median)));
    }
  });
  svg.setAttribute("viewBox", `0 0 ${WIDE} ${rows.length * ROW + 28}`);
  svg.setAttribute("aria-label", state.words ?? "No boots yet.");
  svg.dataset.dots = String(state.samples.length);
  svg.replaceChildren(...parts);
}

function field(label, input) {
  const box = make("label");
  box.append(make("span", "", `${label} `), input);
  return box;
}

function numberInput(value, least, most) {
  const made = make("input");
  Object.assign(made, { type: "number", value, min: least, max: most });
  return made;
}

function dashboard(model, root) {
  const first = model.get("state");
  const form = make("form");
  const name = make("select");
  for (const build of first.names) name.append(new Option(build, build));
  name.value = first.form.name;
  const arms = make("fieldset");
  arms.append(make("legend", "", "Arms"));
  const boxes = first.arms.map((arm) => {
    const box = make("input");
    Object.assign(box, { type: "checkbox", value: arm, checked: first.form.arms.includes(arm) });
    const label = make("label");
    label.append(box, ` ${arm} `);
    arms.append(label);
    return box;
  });
  const blocks = numberInput(first.form.blocks, 1, 10000);
  const memory = numberInput(first.form.mem_mb, 16, 65536);
  const probe = make("input");
  Object.assign(probe, { value: first.form.probe, placeholder: "/ or https:8443/", size: 14 });
  const fields = make("div", "fields");
  fields.append(field("Build", name), field("Blocks", blocks), field("Memory in MiB", memory), field("Probe", probe));
  form.append(fields, arms);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("keydown", (event) => event.stopPropagation());
  form.addEventListener("input", () => model.send({ do: "form", form: { name: name.value, blocks: blocks.valueAsNumber,
    mem_mb: memory.valueAsNumber, probe: probe.value, arms: boxes.filter((box) => box.checked).map((box) => box.value) } }));

  const cell = make("pre");
  cell.tabIndex = 0;
  cell.setAttribute("aria-label", "The cell that this form stands for");
  const start = button("Start", "Run this experiment", () => model.send({ do: "start" }));
  const stop = button("Stop", "Stop the experiment; its samples are kept", () => {
    stop.disabled = true;
    model.send({ do: "cancel" });
  });
  const copy = button("Copy the cell", "Copy the cell that this form stands for", async () => {
    try {
      await navigator.clipboard.writeText(cell.textContent);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "The browser does not allow it";
    }
  });
  const bar = make("progress");
  bar.max = 1;
  bar.setAttribute("aria-label", "Progress of the experiment");
  const where = make("span");
  where.setAttribute("role", "status");
  const head = make("div", "head");
  head.append(start, stop, copy, bar, where);
  const svg = drawn("svg", { role: "img" });
  const message = make("div", "message");
  message.setAttribute("role", "alert");
  root.append(make("div", "title", first.title), form, cell, head, message, svg);

  const draw = () => {
    const state = model.get("state");
    form.hidden = cell.hidden = copy.hidden = state.follows;
    say(cell, state.cell);
    start.hidden = state.running || state.follows;
    start.disabled = Boolean(state.error);
    stop.hidden = !state.running || state.follows;
    if (!state.running) stop.disabled = false;
    bar.hidden = !state.samples.length && !state.running;
    bar.value = state.fraction;
    say(where, state.where);
    say(message, state.error ?? "");
    message.hidden = !state.error;
    chart(svg, state);
    svg.toggleAttribute("hidden", !(state.cases ?? []).length);
  };
  draw();
  return draw;
}

export default {
  render({ model, el }) {
    const root = make("section", "unibeam-face");
    root.setAttribute("aria-label", model.get("label"));
    const style = make("style");
    style.textContent = STYLE;
    el.append(style, root);
    const draw = { dashboard, panel, top }[model.get("kind")](model, root);
    model.on("change:state", draw);
    const still = watch(model, root);
    return () => {
      model.off("change:state", draw);
      still();
    };
  },
};
