"""The template of the evaluation page, and its style on top of the report page's."""

from jinja2 import Environment, StrictUndefined

__all__ = ["MORE_STYLE", "PAGE"]

# Autoescape: names of classes, groups and folds come from corpora.
PAGE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string("""\
{% macro show(table) %}
<section><h2>{{ table.title }}</h2><div class="wide">
{% if table.rows | length > 20 %}
<details><summary>{{ table.rows | length }} rows</summary>
{% endif %}
<table>
<thead><tr>{% for name in table.header %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell | replace(" %", "&nbsp;%" | safe) }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table>
{% if table.rows | length > 20 %}
</details>
{% endif %}
</div>
{% if table.note %}
<p class="quiet">{{ table.note }}</p>
{% endif %}
</section>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 style-src 'unsafe-inline'">
<title>{{ title }} · Emoscope</title>
<style>
{{ style }}</style>
</head>
<body>
<main>
{% for warning in warnings %}
<p class="warning"><b>Warning.</b> {{ warning }}</p>
{% endfor %}
<header class="top">
<p class="brand">Emoscope</p>
<h1>{{ title }}</h1>
<p>{{ subtitle | replace(" %", "&nbsp;%" | safe) }}</p>
</header>
{% for table in results %}
{{ show(table) }}
{% endfor %}
<section><h2>Confusion matrix</h2><div class="wide">{{ confusion }}</div>
<p class="quiet">Rows are the true class, columns the predicted one. Each cell has the percentage of
its row and, below, the number of predictions.</p></section>
<div class="charts">
{% for chart in charts %}
<section><h3>{{ chart.title }}</h3>{{ chart.svg }}<p class="quiet">{{ chart.note }}</p></section>
{% endfor %}
</div>
{% for table in details %}
{{ show(table) }}
{% endfor %}
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
.charts section { margin: 0; max-width: 460px; }
h3 { margin: 0 0 8px; font-size: 14px; font-weight: 600; }
p.quiet { font-size: 13px; margin-top: 8px; max-width: 72ch; }
.wide { overflow-x: auto; margin-top: 12px; }
.wide table { width: auto; min-width: 360px; }
.wide th:first-child, .wide td:first-child { text-align: left; }
.wide td { white-space: normal; overflow-wrap: break-word; }
.wide td:first-child:nth-last-child(2) { white-space: nowrap; }
.wide :is(th, td):nth-child(2):last-child { text-align: left; overflow-wrap: anywhere; }
svg { display: block; height: auto; max-width: 100%; font: 12px/1 inherit; }
"""
