// The inside of an image: a map of areas, and the same as a table that is walked through with keys.
//
// The kernel sends a tree of plain data once, and nothing is asked of it afterwards. Text only ever becomes text: nothing
// here makes HTML of a string, and the style is a sheet of its own, which a page may allow that forbids inline ones.

const STYLE = `
.unibeam-inside { font: inherit; font-size: var(--jp-ui-font-size1, 13px); color: var(--jp-ui-font-color1, inherit); max-width: 70em; }
.unibeam-inside .top { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; }
.unibeam-inside ol { display: flex; flex-wrap: wrap; list-style: none; margin: 0; padding: 0; }
.unibeam-inside li:not(:last-child)::after { content: "/"; padding: 0 4px; }
.unibeam-inside button { font: inherit; padding: 1px 4px; border: 0; background: none; color: inherit; cursor: pointer; }
.unibeam-inside nav button { text-decoration: underline; }
.unibeam-inside [aria-current] { font-weight: 600; text-decoration: none; cursor: default; }
.unibeam-inside input { font: inherit; color: inherit; background: var(--jp-layout-color1, #fff); border: 1px solid var(--jp-border-color1, #888); padding: 1px 6px; }
.unibeam-inside .map { position: relative; height: 220px; margin: 6px 0; overflow: hidden; }
.unibeam-inside .area { position: absolute; box-sizing: border-box; border: 1px solid #fff; background: #c9d9ea; color: #1a1a1a; overflow: hidden;
  font-size: 11px; line-height: 1.25; padding: 2px 4px; white-space: nowrap; text-overflow: ellipsis; }
.unibeam-inside .area.deep { cursor: pointer; background: #a9c4df; }
.unibeam-inside .area.gone, .unibeam-inside .area.less { background: repeating-linear-gradient(45deg, #ead9a6, #ead9a6 6px, #f3e9cb 6px, #f3e9cb 12px); }
.unibeam-inside .area.here { outline: 2px solid #00204c; outline-offset: -3px; }
.unibeam-inside .scroll { max-height: 24em; overflow: auto; }
.unibeam-inside table { border-collapse: collapse; color: inherit; }
.unibeam-inside th, .unibeam-inside td { text-align: right; padding: 1px 10px 1px 0; white-space: nowrap; font-weight: normal; }
.unibeam-inside thead th { position: sticky; top: 0; background: var(--jp-layout-color0, #fff); }
.unibeam-inside thead button { font-weight: 600; }
.unibeam-inside tbody tr { cursor: default; background: none; }
.unibeam-inside tbody tr:hover, .unibeam-inside tbody tr[aria-selected=true] { background: var(--jp-layout-color2, #e8eef5); }
.unibeam-inside tbody tr:focus { outline: 2px solid #1a6fc9; outline-offset: -2px; }
.unibeam-inside .name { text-align: left; min-width: 16em; }
.unibeam-inside .bar { width: 160px; padding-left: 4px; }
.unibeam-inside .track { display: block; position: relative; height: 9px; width: 160px; background: #80808033; }
.unibeam-inside .fill { position: absolute; height: 9px; background: #2980d9; min-width: 1px; }
.unibeam-inside .help { margin-top: 4px; }
.unibeam-inside [hidden] { display: none !important; }
`;

const ROWS = 300; // Of a directory with more in it the rest is one line.

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function dress(el) {
  const root = el.getRootNode();
  const sheets = (root.adoptedStyleSheets ? root : document).adoptedStyleSheets;
  if ([...sheets].some((sheet) => sheet.unibeamInside)) return;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  sheet.unibeamInside = true;
  (root.adoptedStyleSheets ? root : document).adoptedStyleSheets = [...sheets, sheet];
}

function size(count) {
  for (const unit of ["B", "kB", "MB"]) {
    if (Math.abs(count) < 1000) return `${count.toFixed(unit === "B" || Math.abs(count) >= 100 ? 0 : 1)} ${unit}`;
    count /= 1000;
  }
  return `${count.toFixed(2)} GB`;
}

const signed = (count) => (count ? `${count > 0 ? "+" : "-"}${size(Math.abs(count))}` : "no bytes");

/** The tree of plain data as nodes that know their parents. */
function grow([name, kind, bytes, shipped, before, state, children], parent, differs) {
  const node = { name, kind, bytes, shipped, before, state, parent, delta: bytes - before };
  node.weight = differs ? Math.abs(node.delta) : bytes;
  node.children = children.map((child) => grow(child, node, differs)).filter((child) => child.state !== "same");
  return node;
}

function pathOf(node, from) {
  const names = [];
  for (let here = node; here && here !== from; here = here.parent) names.unshift(here.name.replace(/\/$/, ""));
  return names.join("/");
}

/** Every word is in the path, the last one in the name itself; nothing inside of what was found already. */
function search(root, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  const look = (node, above) => {
    for (const child of node.children) {
      const path = `${above}/${child.name.toLowerCase()}`;
      if (child.name.toLowerCase().includes(words.at(-1)) && words.every((word) => path.includes(word))) found.push(child);
      else look(child, path);
    }
  };
  if (words.length) look(root, "");
  return found.sort((a, b) => b.weight - a.weight);
}

/** Areas in proportion, as square as they can be (Bruls, Huizing and van Wijk, 2000): [x, y, width, height] each. */
function squarify(sizes, width, height) {
  const scale = (width * height) / sizes.reduce((sum, each) => sum + each, 0);
  const areas = sizes.map((each) => each * scale);
  const sum = (from, to) => areas.slice(from, to).reduce((total, area) => total + area, 0);
  const worst = (from, to, side) => {
    const whole = sum(from, to);
    return Math.max((side * side * areas[from]) / whole ** 2, whole ** 2 / (side * side * areas[to - 1]));
  };
  const places = [];
  let [x, y, start] = [0, 0, 0];
  while (start < areas.length) {
    const side = Math.min(width, height);
    let end = start + 1;
    while (end < areas.length && worst(start, end + 1, side) <= worst(start, end, side)) end += 1;
    const strip = sum(start, end) / side;
    let along = 0;
    for (const area of areas.slice(start, end)) {
      const length = area / strip;
      places.push(width >= height ? [x, y + along, strip, length] : [x + along, y, length, strip]);
      along += length;
    }
    if (width >= height) [x, width] = [x + strip, width - strip];
    else [y, height] = [y + strip, height - strip];
    start = end;
  }
  return places;
}

function columnsOf(root, differs) {
  const name = { title: "name", value: (node) => node.name, text: (node) => node.name };
  const shipped = { title: "shipped, about", value: (node) => node.shipped, text: (node) => size(node.shipped) };
  if (!differs) {
    return [name, { title: "bytes", value: (node) => node.bytes, text: (node) => size(node.bytes) },
      { title: "share", value: (node) => node.bytes, text: (node) => `${((100 * node.bytes) / (root.bytes || 1)).toFixed(1)} %` }, shipped];
  }
  return [name, { title: "before", value: (node) => node.before, text: (node) => (node.before ? size(node.before) : "-") },
    { title: "now", value: (node) => node.bytes, text: (node) => (node.bytes ? size(node.bytes) : "-") },
    { title: "change", value: (node) => node.weight, text: (node) => signed(node.delta) },
    { title: "state", value: (node) => node.state, text: (node) => node.state }];
}

function view(model, section) {
  const differs = Boolean(model.get("against"));
  const root = grow(model.get("tree"), null, differs);
  root.name = model.get("label");
  const columns = columnsOf(root, differs);
  let [here, rows, selected, order, falling] = [root, [], 0, differs ? 3 : 1, true];

  const trail = make("ol");
  const nav = make("nav");
  nav.setAttribute("aria-label", "Where you are in the image");
  nav.append(trail);
  const field = make("input");
  Object.assign(field, { type: "search", placeholder: "search ( / )", value: model.get("word") });
  field.setAttribute("aria-label", "Search the image");
  const status = make("span");
  status.setAttribute("role", "status");
  const top = make("div", "top");
  top.append(nav, field, status);
  const map = make("div", "map");
  map.setAttribute("aria-hidden", "true"); // The table says the same.
  const table = make("table");
  table.setAttribute("role", "grid");
  const head = make("thead");
  const body = make("tbody");
  table.append(head, body);
  const scroll = make("div", "scroll");
  scroll.append(table);
  section.append(top, map, scroll,
    make("div", "help", "Arrow keys: walk. Enter: look inside. Backspace: back up. /: search."));

  const listed = () => {
    const nodes = field.value.trim() ? search(root, field.value) : [...here.children];
    const key = columns[order].value;
    nodes.sort((a, b) => (typeof key(a) === "string" ? key(b).localeCompare(key(a)) : key(b) - key(a)) * (falling ? 1 : -1));
    return nodes;
  };

  const select = (index, focus) => {
    body.rows[selected]?.setAttribute("aria-selected", "false");
    if (body.rows[selected]) body.rows[selected].tabIndex = -1;
    selected = Math.max(0, Math.min(index, rows.length - 1));
    const row = body.rows[selected];
    if (!row) return;
    row.tabIndex = 0;
    row.setAttribute("aria-selected", "true");
    for (const area of map.children) area.classList.toggle("here", area.node === rows[selected]);
    if (focus) row.focus();
  };

  const go = (node, child, focus = true) => {
    here = node;
    field.value = "";
    draw();
    select(Math.max(0, rows.indexOf(child)), focus);
    if (focus && !rows.length) field.focus();
  };

  const enter = (node) => {
    if (node.children.length) go(node);
    else if (field.value.trim()) go(node.parent, node); // What was found, in its place.
  };

  const up = () => (field.value.trim() ? go(here) : here.parent && go(here.parent, here));

  function drawTrail(searching) {
    const steps = [];
    for (let node = here; node; node = node.parent) steps.unshift(node);
    trail.replaceChildren(...steps.map((node) => {
      const item = make("li");
      const step = make("button", "", node.name.replace(/\/$/, ""));
      step.type = "button";
      if (node === here && !searching) step.setAttribute("aria-current", "location");
      step.addEventListener("click", () => go(node));
      item.append(step);
      return item;
    }));
  }

  function drawMap() {
    const shown = rows.filter((node) => node.weight > 0).sort((a, b) => b.weight - a.weight).slice(0, ROWS);
    const places = shown.length ? squarify(shown.map((node) => node.weight), 100, 34) : [];
    map.hidden = !shown.length;
    map.replaceChildren(...shown.map((node, index) => {
      const [x, y, width, height] = places[index];
      const area = make("div", `area ${node.state}${node.children.length ? " deep" : ""}${differs && node.delta < 0 ? " less" : ""}`);
      area.node = node;
      Object.assign(area.style, { left: `${x}%`, width: `${width}%`, top: `${(100 * y) / 34}%`, height: `${(100 * height) / 34}%` });
      area.title = `${pathOf(node, root)}: ${differs ? signed(node.delta) : size(node.bytes)}`;
      if (width > 6 && height > 3) area.textContent = `${node.name} ${differs ? signed(node.delta) : size(node.bytes)}`;
      area.addEventListener("click", () => (node.children.length ? enter(node) : select(rows.indexOf(node), true)));
      return area;
    }));
  }

  function drawHead() {
    const line = make("tr");
    columns.forEach((column, index) => {
      const cell = make("th", index ? "" : "name");
      cell.scope = "col";
      cell.setAttribute("aria-sort", index !== order ? "none" : falling ? "descending" : "ascending");
      const sort = make("button", "", column.title + (index === order ? (falling ? " ▾" : " ▴") : ""));
      sort.type = "button";
      sort.addEventListener("click", () => {
        [order, falling] = [index, index === order ? !falling : true];
        draw();
        select(0, false);
        head.querySelectorAll("button")[index].focus();
      });
      cell.append(sort);
      line.append(cell);
    });
    line.append(make("td", "bar"));
    head.replaceChildren(line);
  }

  function draw() {
    const searching = field.value.trim();
    const all = listed();
    rows = all.slice(0, ROWS);
    const whole = Math.max(...all.map((node) => Math.max(node.bytes, node.before)), 1);
    drawTrail(searching);
    drawHead();
    body.replaceChildren(...rows.map((node, index) => {
      const row = make("tr");
      row.tabIndex = -1;
      row.setAttribute("aria-selected", "false");
      columns.forEach((column, place) => {
        const cell = make(place ? "td" : "th", place ? "" : "name");
        if (!place) cell.scope = "row";
        cell.textContent = place ? column.text(node) : (node.children.length ? "▸ " : "\u2007 ") + (searching ? pathOf(node, root) : node.name);
        row.append(cell);
      });
      const bar = make("td", "bar");
      const track = make("span", "track");
      const fill = make("span", "fill");
      const [low, high] = differs ? [Math.min(node.bytes, node.before), Math.max(node.bytes, node.before)] : [0, node.bytes];
      Object.assign(fill.style, { left: `${(100 * low) / whole}%`, width: `${(100 * (high - low)) / whole}%` });
      track.append(fill);
      bar.append(track);
      row.append(bar);
      row.addEventListener("click", () => select(index, true));
      row.addEventListener("dblclick", () => enter(node));
      return row;
    }));
    for (const cell of body.querySelectorAll("th")) cell.setAttribute("role", "rowheader");
    for (const cell of body.querySelectorAll("td")) cell.setAttribute("role", "gridcell");
    table.setAttribute("aria-label", searching ? "What was found" : `In ${here.name}`);
    const total = all.reduce((sum, node) => sum + (differs ? node.delta : node.bytes), 0);
    const rest = all.length > rows.length ? `, the first ${rows.length} shown` : "";
    const what = `${all.length} ${searching ? "found" : differs ? (all.length === 1 ? "differs" : "differ") : all.length === 1 ? "part" : "parts"}`;
    status.textContent = `${what}${rest}, ${differs ? signed(total) : size(total)}`;
    drawMap();
    select(0, false);
  }

  const keys = {
    ArrowDown: () => select(selected + 1, true), ArrowUp: () => select(selected - 1, true),
    Home: () => select(0, true), End: () => select(rows.length - 1, true),
    PageDown: () => select(selected + 10, true), PageUp: () => select(selected - 10, true),
    Enter: () => rows[selected] && enter(rows[selected]), ArrowRight: () => rows[selected] && enter(rows[selected]),
    Backspace: up, ArrowLeft: up,
  };
  section.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target === field) {
      if (event.key === "Escape") go(here);
      else if (event.key === "Enter" || event.key === "ArrowDown") select(0, true);
      else return;
    } else if (event.key === "/") field.focus();
    else if (keys[event.key] && body.contains(event.target)) keys[event.key]();
    else if (event.key === "Backspace") up();
    else return;
    event.preventDefault();
  });
  field.addEventListener("input", draw);
  draw();
}

export default {
  render({ model, el }) {
    const section = make("section", "unibeam-inside");
    const than = model.get("against");
    section.setAttribute("aria-label", `Inside ${model.get("label")}${than ? `, against ${than}` : ""}`);
    section.dataset.lmSuppressShortcuts = "true"; // The notebook's own keys rest while ours are in use.
    el.append(section);
    dress(el);
    if (than) section.append(make("div", "", `What differs from ${than}:`));
    view(model, section);
  },
};
