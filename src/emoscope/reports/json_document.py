"""A Timeline as a JSON document."""

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from emoscope.core.results import Timeline
from emoscope.reports.formats import FORMAT_VERSION, FORMATS, ReportFormat, Source

__all__ = ["write_json"]


def write_json(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """The whole Timeline with summary and segments, as strict JSON with one row per line."""
    document = {
        "format_version": FORMAT_VERSION,
        **timeline.to_dict(),
        "summary": [
            asdict(entry) | {"leading": entry.leading or None} for entry in timeline.summary()
        ],
        "segments": [asdict(segment) for segment in timeline.segments()],
    }
    entries = [f"  {json.dumps(key)}: {_json_lines(value)}" for key, value in document.items()]
    path.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")


def _json_lines(value: Any) -> str:
    """Encode a value; a list of dicts has one line per dict."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [f"    {json.dumps(item, allow_nan=False)}" for item in value]
        return "[\n" + ",\n".join(lines) + "\n  ]"
    return json.dumps(value, allow_nan=False)


def json_source(path: Path) -> Source:
    """Recording and model of a JSON report. Its third line holds the provenance."""
    with path.open(encoding="utf-8") as file:
        line = list(islice(file, 3))[2]
    source: Source = json.loads("{" + line.rstrip(",\n") + "}")["provenance"]
    return source


FORMATS.add("json", ReportFormat(".json", write_json, json_source))
