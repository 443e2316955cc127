"""The report page's skeleton, style and script. `html.py` fills it."""

from string import Template

__all__ = ["NOBODY", "PAGE", "SCRIPT", "STYLE"]

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title · Emoscope</title>
<style>
$style</style>
</head>
<body>
<main>
<header class="top">
<p class="brand">Emoscope</p>
<h1>$title</h1>
<dl>$facts</dl>
</header>
<noscript>
<p class="note">The plots need JavaScript. The figures, faces and tables do not.</p>
</noscript>
$people
<footer>
<h2>What these figures are</h2>
<p>Probabilities that a model gives to how a face looks. They describe apparent expressions, not
what a person feels, and they are less certain for faces, ages, light and cultures unlike those
that the model learned from.</p>
<p>In the European Union, Article 5(1)(f) of the AI Act (Regulation (EU) 2024/1689) prohibits AI
systems that infer emotions of people at work and in education, except for medical or safety
reasons.</p>
<ul>$notes</ul>
</footer>
</main>
<script type="application/json" id="data">$data</script>
<script>$plotly</script>
<script>
$script</script>
</body>
</html>
""")

NOBODY = '<p class="nobody">No face was seen in this video.</p>'

STYLE = """
:root {
  --paper: #fcfcfa; --ink: #1d2228; --quiet: #69717b; --line: #e4e5e1; --wash: #f3f3ef;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --ink: #e6e8ea; --quiet: #98a1ab; --line: #2c3138; --wash: #1e2227;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1040px; margin: 0 auto; padding: 56px 32px 72px; }
h1, h2, p, dl, dd, ul, figure { margin: 0; padding: 0; }
h1 { font-size: 34px; line-height: 1.2; font-weight: 600; letter-spacing: -0.015em;
  overflow-wrap: anywhere; }
h2 { font-size: 21px; font-weight: 600; letter-spacing: -0.01em; }
ul { list-style: none; }
b { font-weight: 600; }
.quiet { color: var(--quiet); }
.brand { font-size: 13px; letter-spacing: 0.08em; color: var(--quiet); margin-bottom: 10px; }
dl { display: flex; flex-wrap: wrap; gap: 14px 36px; margin-top: 26px; padding: 16px 0;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); }
dt { font-size: 13px; color: var(--quiet); }
dd { font-weight: 500; overflow-wrap: anywhere; }
.note, .nobody { margin-top: 40px; padding: 16px 20px; background: var(--wash);
  border-radius: 6px; }
.person { margin-top: 56px; }
.person > header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 18px; }
.bar { display: flex; gap: 2px; height: 10px; margin-top: 8px; }
.bar i { border-radius: 2px; min-width: 2px; }
.key { display: flex; flex-wrap: wrap; gap: 4px 22px; margin-top: 10px; font-size: 14px; }
.key i, td i { display: inline-block; width: 10px; height: 10px; border-radius: 2px;
  margin-right: 7px; }
.key b { margin-left: 3px; }
.key .never { color: var(--quiet); }
.key .never b { font-weight: 400; }
.person > p { font-size: 13px; color: var(--quiet); margin-top: 16px; }
.plot { height: 310px; margin-top: -14px; }
.peaks { display: flex; flex-wrap: wrap; gap: 18px 20px; margin-top: 8px; }
figure { width: 96px; }
figure img { display: block; width: 96px; height: 96px; border-radius: 6px; }
figcaption { font-size: 13px; line-height: 1.4; margin-top: 6px; white-space: nowrap; }
figcaption i { display: inline-block; width: 8px; height: 8px; border-radius: 2px;
  margin-right: 5px; }
figcaption span { color: var(--quiet); display: block; }
details { margin-top: 24px; }
summary { cursor: pointer; font-weight: 600; }
summary .quiet { font-weight: 400; }
.scroll { max-width: 680px; max-height: 460px; overflow: auto; margin-top: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: right; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 500; color: var(--quiet); position: sticky; top: 0; background: var(--paper); }
.word { text-align: left; padding-left: 18px; width: 40%; }
footer { margin-top: 72px; padding-top: 24px; border-top: 1px solid var(--line);
  color: var(--quiet); font-size: 14px; }
footer h2 { font-size: 15px; color: var(--ink); letter-spacing: 0; }
footer p, footer ul { max-width: 72ch; margin-top: 8px; }
footer ul { list-style: disc; padding-left: 1.2em; }
footer ul:empty { display: none; }
@media (max-width: 640px) {
  main { padding: 28px 18px 48px; }
  h1 { font-size: 26px; }
  dl { gap: 10px 26px; }
  .person { margin-top: 44px; }
  .plot { height: 240px; }
  th, td { padding-right: 8px; }
  th { white-space: normal; vertical-align: bottom; }
  .word { padding-left: 8px; width: auto; }
}
@media print {
  .scroll { max-height: none; }
  .person, figure, tr { break-inside: avoid; }
}
"""

# Times travel as seconds and are drawn on a date axis, which gives clock ticks at every zoom. They
# start in the year 2000: Plotly takes small numbers for years. All zero between two stretches of
# a face is a gap, and says nothing under the mouse.
SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const plots = Array.from(document.querySelectorAll(".plot"));
const clock = data.end_s < 3600 ? "%-M:%S" : "%-H:%M:%S";
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
  const gap = person.x.map((_, i) => person.y.every((of_label) => of_label[i] === 0));
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
    const mine = person.segments.filter((segment) => segment[2] === c);
    return {
      type: "bar", orientation: "h", yaxis: "y2", showlegend: false,
      base: mine.map((s) => when(s[0])), x: mine.map((s) => 1000 * (s[1] - s[0])),
      y: mine.map(() => 0), width: 1, marker: { color: data.colours[c], line },
      hoverinfo: "skip",
    };
  });
}

function layout(colour) {
  const family = getComputedStyle(document.body).fontFamily;
  return {
    font: { family, size: 12, color: colour.quiet }, showlegend: false,
    hovermode: "x unified", barmode: "overlay",
    // On a touch screen a finger on the plot scrolls the page.
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

// A crowd has many plots: each is drawn when it comes near the screen.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }
}, { rootMargin: "600px" });
plots.forEach((plot) => near.observe(plot));
window.addEventListener("beforeprint", () => plots.forEach(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  plots.filter((plot) => plot.dataset.drawn).forEach(draw));
"""
