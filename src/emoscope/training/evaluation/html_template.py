"""The evaluation page's skeleton, and its style beside the report page's.

`evaluation_report.py` fills it.
"""

from string import Template

__all__ = ["MORE_STYLE", "PAGE"]

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 style-src 'unsafe-inline'">
<title>$title · Emoscope</title>
<style>
$style</style>
</head>
<body>
<main>
$warnings
<header class="top">
<p class="brand">Emoscope</p>
<h1>$title</h1>
<p>$what</p>
</header>
$above
<section><h2>Confusion matrix</h2><div class="wide">$matrix</div>
<p class="quiet">Rows are the truth. Percent of the row, and below it the count.</p></section>
<div class="charts">$charts</div>
<p class="quiet">In the calibration, a bar is the fuller the more answers it stands for; on the
dashed line a model is calibrated.</p>
$below
</main>
</body>
</html>
""")

MORE_STYLE = """
:root { --accent: #1f6bb0; }
@media (prefers-color-scheme: dark) { :root { --accent: #62a8e6; } }
.top > p:last-child { margin-top: 12px; max-width: 72ch; }
.warning { margin-bottom: 24px; padding: 14px 18px; border-left: 4px solid #d3541f;
  background: var(--wash); border-radius: 4px; overflow-wrap: anywhere; }
section, .charts { margin-top: 48px; }
.charts { display: flex; flex-wrap: wrap; gap: 28px 40px; }
.charts section { margin: 0; }
h3 { margin: 0 0 8px; font-size: 14px; font-weight: 600; }
p.quiet { font-size: 13px; margin-top: 8px; max-width: 72ch; }
.wide { overflow-x: auto; margin-top: 12px; }
.wide table { width: auto; min-width: 360px; }
.wide th:first-child, .wide td:first-child { text-align: left; }
.wide td { white-space: normal; overflow-wrap: anywhere; }
svg { display: block; height: auto; max-width: 100%; font: 12px/1 inherit; }
"""
