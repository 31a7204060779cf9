"use strict";
document.documentElement.classList.add("has-js");

for (const button of document.querySelectorAll(".copy button")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
  });
}

const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
const redrawn = [];

const themeButton = document.querySelector(".theme");
function showTheme() {
  themeButton.setAttribute("aria-pressed", isDark());
  for (const draw of redrawn) draw();
}
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
prefersDark.addEventListener("change", showTheme);
showTheme();

const contents = document.querySelector(".contents details");
const isWide = matchMedia("(min-width: 84rem)");
const unfold = () => { contents.open = isWide.matches; };
isWide.addEventListener("change", unfold);
unfold();
contents.addEventListener("click", (event) => {
  if (event.target.matches("a") && !isWide.matches) contents.open = false;
});
const links = [...contents.querySelectorAll("a")];
const places = links.map((link) => document.querySelector(link.getAttribute("href")));
function markPlace() {
  const above = places.filter((place) => place.getBoundingClientRect().top < innerHeight / 3);
  const atEnd = scrollY + innerHeight >= root.scrollHeight - 2 && scrollY > 0;
  const here = atEnd ? places.length - 1 : Math.max(0, above.length - 1);
  links.forEach((link, i) => (i === here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
}
addEventListener("scroll", markPlace, { passive: true });
markPlace();

function element(name, inside, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...inside);
  return made;
}

function enlargePictures(buttons) {
  const picture = element("img", [], { alt: "" });
  const caption = element("figcaption", []);
  const button = (text) => element("button", [text], { type: "button" });
  const [back, on, close] = ["← Previous", "Next →", "Close"].map(button);
  const dialog = element("dialog", [element("figure", [picture, caption]), element("div", [back, on, close])], { className: "enlarged" });
  dialog.setAttribute("aria-label", "Enlarged picture");
  document.body.append(dialog);
  let place = 0;
  const show = (wanted) => {
    place = (wanted + buttons.length) % buttons.length;
    const small = buttons[place].querySelector("img");
    picture.src = small.src;
    picture.alt = caption.textContent = small.alt;
    dialog.classList.toggle("pixelated", Boolean(small.closest(".pixelated")));
    if (!dialog.open) dialog.showModal();
  };
  buttons.forEach((one, i) => one.addEventListener("click", () => show(i)));
  back.addEventListener("click", () => show(place - 1));
  on.addEventListener("click", () => show(place + 1));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") show(place + 1);
    if (event.key === "ArrowLeft") show(place - 1);
  });
}
const zooms = [...document.querySelectorAll("button.zoom")];
if (zooms.length) enlargePictures(zooms);

async function inflate(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// Plotly reads some markup in labels: text of data and plans is to stand as it is.
const plain = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

function traces(data, css) {
  const dashes = ["solid", "solid", "dash", "dot", "dashdot", "longdash"];
  return data.traces.flatMap((trace) => {
    const color = css(trace.slot ? `--slot${Math.min(trace.slot, 5)}` : "--worst");
    const worst = trace.slot === 0;
    const shared = { x: trace.x, mode: "lines", showlegend: false, hoverinfo: "skip" };
    const band = [
      { ...shared, y: trace.low, line: { width: 0 } },
      { ...shared, y: trace.high, line: { width: 0 }, fill: "tonexty", fillcolor: color + "1f" },
    ];
    return [
      ...(worst || data.bands ? band : []),
      {
        x: trace.x, y: trace.y, name: worst ? "worst case" : plain(trace.name), mode: worst ? "lines" : "lines+markers",
        showlegend: false, cliponaxis: false,
        line: { color: worst ? color + "38" : color, width: worst ? 8 : 2.4, dash: dashes[Math.min(trace.slot, 5)] },
        marker: { size: 8, color: css("--surface"), line: { color, width: 2 } },
        customdata: trace.x.map((_, i) => [trace.low[i], trace.high[i]]),
        hovertemplate: data.percent ? "%{y:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f})"
          : "%{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})",
      },
    ];
  });
}

const titled = (axis) => (axis.title ? { ...axis, title: { text: axis.title, standoff: 12, font: { size: 13 } } } : axis);

function frame(css, xaxis, yaxis, more) {
  const axis = { gridcolor: css("--rule"), zeroline: false, linecolor: css("--muted"), fixedrange: true };
  return {
    autosize: true, margin: { l: 54, r: 18, t: 16, b: 52 }, hovermode: "closest", showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: css("--sans"), size: 13, color: css("--muted") },
    hoverlabel: { bgcolor: css("--surface"), bordercolor: css("--rule"), font: { color: css("--ink") } },
    xaxis: { ...axis, ...titled(xaxis) }, yaxis: { ...axis, ...titled(yaxis) }, ...more,
  };
}

function mark(css, x, text, low) {
  return {
    shapes: [{ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: css("--accent"), width: 1.4, dash: "dash" } }],
    annotations: [{ x, y: low ? 0.03 : 1, yref: "paper", xanchor: "left", yanchor: low ? "bottom" : "top", xshift: 6,
      showarrow: false, text: `<b>${text}</b>`, font: { color: css("--accent") } }],
  };
}

function lines(data, css) {
  const first = data.traces.reduce((a, b) => (b.x.at(-1) > a.x.at(-1) ? b : a));
  const lowest = Math.min(0, ...data.traces.flatMap((trace) => trace.y));
  const xaxis = { title: plain(data.unit), tickvals: first.x, ticktext: first.labels.map(plain),
    range: [-0.015 * first.x.at(-1), 1.02 * first.x.at(-1)], unifiedhovertitle: { text: "radius %{x:.4g}" } };
  const yaxis = data.percent ? { range: [0, 102], ticksuffix: " %", dtick: 20 } : { range: [lowest - 0.02, 1.02], dtick: 0.2 };
  const more = { hovermode: "x unified", ...mark(css, data.eps, `ε = ${plain(data.label)}`, data.low) };
  return [traces(data, css), frame(css, xaxis, yaxis, more)];
}

function bars(data, css) {
  const ends = data.counts.map((_, i) => [data.edges[i], data.edges[i + 1]]);
  const bar = {
    type: "bar", x: ends.map(([low, high]) => (low + high) / 2), y: data.counts, width: ends.map(([low, high]) => 0.96 * (high - low)),
    marker: { color: css("--slot1") + "99" }, customdata: ends,
    hovertemplate: "%{y} samples from %{customdata[0]:.3g} to %{customdata[1]:.3g}<extra></extra>",
  };
  const more = data.median === null ? {} : mark(css, data.median, `median ${Number(data.median).toPrecision(3)}`);
  return [[bar], frame(css, { title: plain(data.unit) }, { title: "samples", range: [0, 1.2 * Math.max(1, ...data.counts)] }, more)];
}

function dots(data, css) {
  const total = data.bins.reduce((sum, bin) => sum + bin.n, 0);
  const ideal = { x: [0, 100], y: [0, 100], mode: "lines", hoverinfo: "skip", line: { color: css("--muted"), width: 1, dash: "dash" } };
  const found = {
    x: data.bins.map((bin) => 100 * bin.confidence), y: data.bins.map((bin) => 100 * bin.accuracy), mode: "markers", cliponaxis: false,
    marker: { size: data.bins.map((bin) => 4 + 28 * Math.sqrt(bin.n / total)), color: css("--slot1"), opacity: 0.65, line: { color: css("--slot1"), width: 1.5 } },
    customdata: data.bins.map((bin) => bin.n),
    hovertemplate: "%{customdata} samples: %{y:.1f} % correct at %{x:.1f} % confidence<extra></extra>",
  };
  const axis = { range: [0, 103], ticksuffix: " %", dtick: 20 };
  return [[ideal, found], frame(css, { ...axis, title: "confidence of the predicted class" }, { ...axis, title: "correct" })];
}

const KINDS = { lines, bars, dots };

async function drawCharts() {
  const holders = document.querySelectorAll(".chart[data-source]");
  if (!holders.length || !document.getElementById("plotly") || !("DecompressionStream" in window)) return;
  const script = document.createElement("script");
  script.textContent = await inflate("plotly");
  document.head.append(script);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  for (const holder of holders) {
    const data = JSON.parse(document.getElementById(holder.dataset.source).textContent);
    const draw = () => Plotly.react(holder.querySelector(".live"), ...KINDS[data.kind](data, css),
      { responsive: true, displayModeBar: false });
    holder.classList.add("is-live");
    await draw();
    redrawn.push(draw);
  }
}
drawCharts().catch(() => {
  for (const holder of document.querySelectorAll(".chart")) holder.classList.remove("is-live");
});
