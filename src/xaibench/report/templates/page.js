"use strict";
document.documentElement.classList.add("has-js");

for (const button of document.querySelectorAll(".copy button")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
  });
}

async function inflate(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

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
        x: trace.x, y: trace.y, name: worst ? "worst case" : trace.name, mode: worst ? "lines" : "lines+markers",
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

function layout(data, css) {
  const first = data.traces.reduce((a, b) => (b.x.at(-1) > a.x.at(-1) ? b : a));
  const lowest = Math.min(0, ...data.traces.flatMap((trace) => trace.y));
  const axis = { gridcolor: css("--rule"), zeroline: false, linecolor: css("--muted"), fixedrange: true };
  return {
    autosize: true, margin: { l: 54, r: 18, t: 16, b: 52 }, hovermode: "x unified",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: css("--sans"), size: 13, color: css("--muted") },
    hoverlabel: { bgcolor: css("--surface"), bordercolor: css("--rule"), font: { color: css("--ink") } },
    xaxis: { ...axis, title: { text: data.unit, standoff: 12 }, tickvals: first.x, ticktext: first.labels,
      range: [-0.015 * first.x.at(-1), 1.02 * first.x.at(-1)], unifiedhovertitle: { text: "radius %{x:.4g}" } },
    yaxis: { ...axis, ...(data.percent ? { range: [0, 102], ticksuffix: " %", dtick: 20 } : { range: [lowest - 0.02, 1.02], dtick: 0.2 }) },
    shapes: [{ type: "line", x0: data.eps, x1: data.eps, y0: 0, y1: 1, yref: "paper",
      line: { color: css("--accent"), width: 1.4, dash: "dash" } }],
    annotations: [{ x: data.eps, y: data.low ? 0.03 : 1, yref: "paper", xanchor: "left", yanchor: data.low ? "bottom" : "top", xshift: 6, showarrow: false,
      text: `<b>ε = ${data.label}</b>`, font: { color: css("--accent") } }],
  };
}

async function drawCharts() {
  const holders = document.querySelectorAll(".chart[data-source]");
  if (!holders.length || !("DecompressionStream" in window)) return;
  const script = document.createElement("script");
  script.textContent = await inflate("plotly");
  document.head.append(script);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  for (const holder of holders) {
    const data = JSON.parse(document.getElementById(holder.dataset.source).textContent);
    const draw = () => Plotly.react(holder.querySelector(".live"), traces(data, css), layout(data, css),
      { responsive: true, displayModeBar: false });
    holder.classList.add("is-live");
    await draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }
}
drawCharts().catch(() => {
  for (const holder of document.querySelectorAll(".chart")) holder.classList.remove("is-live");
});
