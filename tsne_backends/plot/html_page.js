// What happens on the page beside panning and zooming, which are Bokeh's: colours, legend, search,
// and the list of selected points. Text from the data is set as text, never as markup.
"use strict";
const tsneMap = (() => {
  // More ids than this make a text field slow; copies and files hold all.
  const MOST_LISTED = 2000;
  const MARGIN = 1.05;
  let source, shown, found, figure, meta, current, groups, hidden, unit;
  const element = (id) => document.getElementById(id);
  const column = (name) => source.get_column(name);

  function start(...given) {
    [source, shown, found, figure, meta] = given;
    const select = element("column");
    meta.columns.forEach(({name}, number) => select.add(new Option(name, number)));
    select.addEventListener("change", () => colourBy(Number(select.value)));
    element("colours").hidden = meta.columns.length === 0;
    element("all").addEventListener("click", () => hide(new Set()));
    element("none").addEventListener("click", () => hide(new Set(entries().keys())));
    element("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
    element("copy").addEventListener("click", copy);
    element("download").addEventListener("click", download);
    element("clear").addEventListener("click", () => { source.selected.indices = []; });
    source.selected.properties.indices.change.connect(list);
    figure.properties.inner_width.change.connect(keepAspect);
    figure.properties.inner_height.change.connect(keepAspect);
    figure.x_range.change.connect(() => {
      unit = (figure.x_range.end - figure.x_range.start) / figure.inner_width;
    });
    figure.on_event("reset", wholeMap);
    wholeMap();
    list();
    if (meta.columns.length) colourBy(0); else paint(() => rgba(meta.plain));
    document.documentElement.dataset.ready = "true";
  }

  // One unit of the map takes as many pixels upwards as sideways, whatever the window's shape.

  function wholeMap() {
    place(0, 0, 2 * MARGIN / Math.min(figure.inner_width, figure.inner_height));
  }

  function keepAspect() {
    const {x_range: x, y_range: y} = figure;
    if (figure.inner_width > 0 && figure.inner_height > 0) {
      place((x.start + x.end) / 2, (y.start + y.end) / 2, unit);
    }
  }

  function place(x, y, perPixel) {
    const width = figure.inner_width * perPixel / 2, height = figure.inner_height * perPixel / 2;
    figure.x_range.setv({start: x - width, end: x + width});
    figure.y_range.setv({start: y - height, end: y + height});
  }

  // Colours

  function colourBy(number) {
    current = meta.columns[number];
    const values = column("label" + number);
    const isQuantity = current.names === undefined;
    groups = isQuantity ? null : Array.from(values, groupOf);
    element("legend").hidden = element("switches").hidden = isQuantity;
    element("bar").hidden = !isQuantity;
    if (isQuantity) {
      const {low, high} = current, colours = current.colours.map(rgba), grey = rgba(meta.missing);
      paint((index) => {
        if (Number.isNaN(values[index])) return grey;
        const share = high > low ? (values[index] - low) / (high - low) : 0.5;
        return colours[Math.round(Math.min(Math.max(share, 0), 1) * (colours.length - 1))];
      });
      showBar(values);
    } else {
      const colours = entries().map(({colour}) => rgba(colour));
      paint((index) => colours[groups[index]]);
    }
    hide(new Set());
  }

  // Bokeh takes colours packed into 32 bits, red first.
  function rgba(colour) {
    return (parseInt(colour.slice(1), 16) << 8 | 0xff) >>> 0;
  }

  function paint(colourOf) {
    const colours = column("colour");
    for (let index = 0; index < colours.length; index++) colours[index] = colourOf(index);
    source.change.emit();
  }

  // Categories beyond those with a colour share the entry after them; the last is for no label.
  function groupOf(code) {
    const {names, colours} = current;
    if (code < colours.length) return code;
    return code === names.length && names.length > colours.length ? colours.length + 1 : colours.length;
  }

  function entries() {
    const {names, colours} = current, merged = names.length - colours.length;
    const result = colours.map((colour, code) => ({name: names[code], colour}));
    if (merged) result.push({name: `others (${merged} categories)`, colour: meta.others});
    result.push({name: "missing", colour: meta.missing});
    return result;
  }

  function hide(which) {
    hidden = which;
    shown.booleans = hidden.size ? Array.from(groups, (group) => !hidden.has(group)) : null;
    const kept = source.selected.indices.filter(isShown);
    if (kept.length < source.selected.indices.length) source.selected.indices = kept;
    if (groups) showLegend();
  }

  function toggle(group) {
    const others = [...hidden].filter((other) => other !== group);
    hide(new Set(hidden.has(group) ? others : [...others, group]));
  }

  function isShown(index) {
    return !groups || !hidden.has(groups[index]);
  }

  function showLegend() {
    const counts = new Map();
    for (const group of groups) counts.set(group, (counts.get(group) ?? 0) + 1);
    const legend = element("legend"), top = legend.scrollTop;
    const focused = [...legend.children].findIndex((item) => item.contains(document.activeElement));
    legend.replaceChildren();
    entries().forEach(({name, colour}, group) => {
      if (!counts.has(group)) return;
      const button = make("button", "");
      const swatch = make("i", "");
      swatch.style.background = colour;
      button.append(swatch, make("span", name), make("small", counts.get(group).toLocaleString("en")));
      button.setAttribute("aria-pressed", String(!hidden.has(group)));
      button.title = "Hide or show";
      button.addEventListener("click", () => toggle(group));
      const item = make("li", "");
      item.append(button);
      legend.append(item);
    });
    legend.scrollTop = top;
    if (focused >= 0) legend.children[focused].firstChild.focus();
  }

  function showBar(values) {
    const {low, high, extend, colours} = current;
    const missing = values.reduce((sum, value) => sum + Number.isNaN(value), 0);
    element("bar").firstElementChild.style.background = `linear-gradient(to right, ${colours.join()})`;
    element("low").textContent = (["min", "both"].includes(extend) ? "≤ " : "") + figures(low);
    element("high").textContent = (["max", "both"].includes(extend) ? "≥ " : "") + figures(high);
    element("unknown").textContent = missing ? `missing: ${missing.toLocaleString("en")}, in grey` : "";
  }

  function make(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }

  // Single precision holds no more than seven digits.
  function figures(value) {
    return String(Number(value.toPrecision(6)));
  }

  // Points by name

  function idOf(index) {
    const row = column("row")[index];
    return meta.ids === null ? String(row) : meta.ids[row];
  }

  function describe(index, what) {
    if (what === "id") return idOf(index);
    const {names} = meta.columns[Number(what)], value = column("label" + what)[index];
    if (names === undefined) return Number.isNaN(value) ? "missing" : figures(value);
    return value < names.length ? names[value] : "missing";
  }

  function search() {
    const wanted = element("wanted").value.trim();
    const indices = [];
    if (wanted) {
      const rows = column("row");
      for (let index = 0; index < rows.length; index++) if (idOf(index) === wanted) indices.push(index);
    }
    const x = indices.map((index) => column("x")[index]), y = indices.map((index) => column("y")[index]);
    found.data = {x, y};
    const visible = indices.filter(isShown);
    source.selected.indices = visible;
    if (indices.length) place(x[0], y[0], unit);
    element("answer").textContent = !wanted ? "" : indices.length === 0 ? `No point has the id "${wanted}".`
      : visible.length ? "Ringed on the map." : "Ringed on the map; its category is hidden.";
  }

  // Selection

  function selectedIds() {
    const rows = column("row");
    const indices = Array.from(source.selected.indices).sort((one, other) => rows[one] - rows[other]);
    return indices.map(idOf);
  }

  function list() {
    const ids = selectedIds(), more = ids.length - MOST_LISTED;
    element("count").textContent = ids.length
      ? `${ids.length.toLocaleString("en")} ${ids.length === 1 ? "point" : "points"}`
      : "Draw round points with the lasso of the toolbar.";
    element("ids").value = ids.slice(0, MOST_LISTED).join("\n")
      + (more > 0 ? `\n… and ${more.toLocaleString("en")} more, which copies and files hold` : "");
    element("ids").hidden = element("actions").hidden = ids.length === 0;
    element("copy").textContent = "Copy";
  }

  async function copy() {
    const text = selectedIds().join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Browsers keep the clipboard from some pages; marked text can still be copied.
      const area = make("textarea", text);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    element("copy").textContent = "Copied";
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([selectedIds().join("\n") + "\n"], {type: "text/plain"}));
    link.download = "ids.txt";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  return {start, describe};
})();
