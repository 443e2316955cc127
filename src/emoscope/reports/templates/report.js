"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const plots = Array.from(document.querySelectorAll(".plot"));
const clock = data.end_s < 3600 ? "%-M:%S" : "%-H:%M:%S";
// Times are seconds. They are drawn on a date axis, which labels minutes and seconds at every zoom.
// The axis starts in the year 2000 because Plotly takes small numbers for years.
const when = (seconds) => Date.UTC(2000, 0) + 1000 * seconds;
const touch = matchMedia("(pointer: coarse)").matches;

function theme() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return { paper: value("--paper"), ink: value("--ink"), quiet: value("--quiet"),
    line: value("--line") };
}

function areas(person, colour) {
  const line = { color: colour.paper, width: person.x.length > 1000 ? 0 : 0.75 };
  // All probabilities are zero in a gap, where the face was not seen. A gap has no hover text.
  const gap = person.x.map((_, i) => person.y.every((series) => series[i] === 0));
  return data.labels.map((label, c) => ({
    type: "scatter", mode: "lines", stackgroup: "all", name: label.replace(/</g, "&lt;"),
    x: person.x.map(when), y: person.y[c],
    fillcolor: data.colours[c], line,
    hovertemplate: gap.map((is_gap) => is_gap ? "<extra></extra>" : "%{y:.0%}"),
  }));
}

function strip(person, colour) {
  const line = { color: colour.paper, width: person.segments.length > 200 ? 0 : 0.75 };
  return data.labels.map((label, c) => {
    const segments = person.segments.filter((segment) => segment[2] === c);
    return {
      type: "bar", orientation: "h", yaxis: "y2", showlegend: false,
      base: segments.map((s) => when(s[0])), x: segments.map((s) => 1000 * (s[1] - s[0])),
      y: segments.map(() => 0), width: 1, marker: { color: data.colours[c], line },
      hoverinfo: "skip",
    };
  });
}

function layout(colour) {
  const family = getComputedStyle(document.body).fontFamily;
  return {
    font: { family, size: 12, color: colour.quiet }, showlegend: false,
    hovermode: "x unified", barmode: "overlay",
    // On a touch screen, dragging scrolls the page.
    dragmode: touch ? false : "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour.line, activecolor: colour.quiet },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 42, r: 2, t: 26, b: 24 }, legend: { traceorder: "reversed" },
    hoverlabel: { bgcolor: colour.paper, bordercolor: colour.line,
      font: { family, size: 12, color: colour.ink } },
    xaxis: { type: "date", range: [when(0), when(data.end_s)], anchor: "y2", showgrid: false,
      linecolor: colour.line, ticks: "outside", tickcolor: colour.line, ticklen: 4,
      tickformatstops: [{ dtickrange: [null, 999], value: clock + ".%1f" },
        { dtickrange: [1000, null], value: clock }],
      hoverformat: clock + ".%1f", showspikes: false, nticks: 10 },
    yaxis: { range: [0, 1], domain: [0.14, 1], tickformat: ".0%", tickvals: [0, 0.5, 1],
      gridcolor: colour.line, zeroline: false, fixedrange: true },
    yaxis2: { domain: [0, 0.06], range: [-0.5, 0.5], visible: false, fixedrange: true },
  };
}

const config = { displaylogo: false, responsive: true,
  modeBarButtons: [["toImage", "resetScale2d"]] };

function draw(plot) {
  const colour = theme();
  const person = data.people[plots.indexOf(plot)];
  Plotly.react(plot, areas(person, colour).concat(strip(person, colour)), layout(colour), config);
  plot.dataset.drawn = "yes";
}

// A page may have many plots: each is drawn when it is scrolled near the screen.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }
}, { rootMargin: "600px" });
plots.forEach((plot) => near.observe(plot));
window.addEventListener("beforeprint", () => plots.forEach(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  plots.filter((plot) => plot.dataset.drawn).forEach(draw));
