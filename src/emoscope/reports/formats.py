"""A Timeline as files: JSON, CSV, Parquet, an HTML page, an annotated video; and as plain Python.

To add a format, write its writer here and register it: the command line offers what is registered.

Tables (CSV, Parquet, pandas) hold one row a face a span, and a row without a face where none was
seen. Their columns, after py-feat's where it has the same thing:

    start_s, end_s      the span; py-feat's `approx_time` is the start. No `frame`: numbers of
                        frames are not time in videos of variable rate
    track               stable id of a face, py-feat's `Identity`; empty where none was seen
    FaceRectX, FaceRectY, FaceRectWidth, FaceRectHeight    its box in source pixels
    anger, happiness ...    one column a label, probabilities that sum to 1
    leading             the most probable label; empty where it is below the least confidence
    modalities          who spoke: "face", "face+voice" ...
    padded              the clip was shorter than the model needs
    input               the video's path, as it was given
"""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emoscope.core.errors import MediaError, MissingExtra
from emoscope.core.registry import Registry
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.media.files import replacing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "FORMAT_VERSION", "Writer", "to_deepface", "to_pandas", "write_report"]

Writer = Callable[[Timeline, Path, Path | None], None]
"""Writes a Timeline to a path; the video, where it is at hand, is the third argument."""

FORMATS: Registry[Writer] = Registry("report format")
FORMAT_VERSION = 1

# A plain ".mp4" could fall on the video itself, or on another one of that name.
_SUFFIXES = {"mp4": ".annotated.mp4"}

_DEEPFACE_SPELLINGS = {"anger": "angry", "happiness": "happy", "sadness": "sad"}


def write_report(
    timeline: Timeline,
    out_dir: str | Path,
    formats: Sequence[str],
    *,
    video: str | Path | None = None,
    stem: str | None = None,
) -> list[Path]:
    """Write `<stem>.<format>` for every format, the annotated video as `<stem>.annotated.mp4`.

    `stem` is the video's own by default. The folder is made if it is not there. A file is there
    whole or not at all. Raises UnknownName before anything is written, and MediaError with the
    file and the reason where one cannot be written.
    """
    writers = {name: FORMATS[name] for name in formats}
    out_dir, video = Path(out_dir), None if video is None else Path(video)
    stem = stem or Path(video or timeline.provenance.path).stem or "timeline"
    paths = []
    for name, writer in writers.items():
        path = out_dir / (stem + _SUFFIXES.get(name, f".{name}"))
        with replacing(path) as part:
            writer(timeline, part, video)
        paths.append(path)
    return paths


@FORMATS.register("json")
def write_json(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """Everything in the Timeline, with its summary and segments; strict JSON, one row a line."""
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
    """JSON with each of a list's dicts on a line of its own."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [f"    {json.dumps(item, allow_nan=False)}" for item in value]
        return "[\n" + ",\n".join(lines) + "\n  ]"
    return json.dumps(value, allow_nan=False)


@FORMATS.register("csv")
def write_csv(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """One row a face a span, py-feat's column names; an empty cell where nothing was seen.

    Seconds and pixels to four decimals, probabilities to six.
    """
    columns = _columns(timeline)
    cells = [[_cell(value, name in timeline.labels) for value in columns[name]] for name in columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def _cell(value: Any, is_probability: bool) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}" if is_probability else f"{value:.4f}"
    return str(value)


@FORMATS.register("parquet")
def write_parquet(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """The table of `to_pandas`, typed, with its provenance under the metadata key `emoscope`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("A Parquet report", "pandas") from None
    about = {"format_version": FORMAT_VERSION} | timeline.to_dict()
    del about["rows"]
    table = pa.Table.from_pandas(to_pandas(timeline), preserve_index=False)
    metadata = {**table.schema.metadata, b"emoscope": json.dumps(about, allow_nan=False).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


@FORMATS.register("html")
def write_html(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """One page that opens anywhere, offline: plots over time, faces at the peaks, a table."""
    from emoscope.reports.html import page  # its imports are slow, and few reports need them

    path.write_text(page(timeline, video), encoding="utf-8")


@FORMATS.register("mp4")
def write_mp4(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """The video with boxes, ids and probabilities drawn on it, and its own sound."""
    if video is None:
        raise MediaError("An annotated video needs the video itself: give write_report its path.")
    from emoscope.reports.annotated_video import write_annotated  # brings the decoder along

    write_annotated(timeline, path, video)


def to_pandas(timeline: Timeline) -> "pd.DataFrame":
    """One row a face a span; the columns are this module's. Raises MissingExtra without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra("A pandas table", "pandas") from None
    columns = _columns(timeline)
    table = pd.DataFrame(columns)
    words = dict.fromkeys(("leading", "modalities", "input"), "str")
    return table.astype({"track": "Int64", **words})


def to_deepface(timeline: Timeline) -> list[dict[str, Any]]:
    """What `DeepFace.analyze(actions=["emotion"])` returns, a dict a face a span.

    `emotion` in percent under DeepFace's spellings (angry, happy, sad; labels that it does not
    have keep ours), `dominant_emotion`, `region` in whole source pixels; and `start_s`, `end_s`
    and `track`, which it does not have. A row without a label has None for `dominant_emotion`. A
    face without a box has the whole frame for its region, as in DeepFace.
    """
    names = [_DEEPFACE_SPELLINGS.get(label, label) for label in timeline.labels]
    spelt = dict(zip(timeline.labels, names, strict=True))
    leading = timeline.leading
    rows = np.flatnonzero(timeline.seen & (timeline.track != NO_TRACK)).tolist()
    return [
        {
            "emotion": dict(zip(names, (100.0 * timeline.probs[row]).tolist(), strict=True)),
            "dominant_emotion": spelt.get(leading[row]),
            "region": _region(timeline, row),
            "start_s": float(timeline.spans_s[row, 0]),
            "end_s": float(timeline.spans_s[row, 1]),
            "track": int(timeline.track[row]),
        }
        for row in rows
    ]


def _region(timeline: Timeline, row: int) -> dict[str, int]:
    box = timeline.boxes_xyxy[row]
    if np.isnan(box).any():
        box = np.array([0, 0, timeline.provenance.width, timeline.provenance.height])
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return {"x": x1, "y": y1, "w": x2 - x1, "h": y2 - y1}


def _columns(timeline: Timeline) -> dict[str, Any]:
    """The table, (N,) values a column; None or NaN where nothing was seen."""
    x1, y1, x2, y2 = timeline.boxes_xyxy.T.astype(np.float64)
    # A file name may hold bytes that are no text, which no format here can hold.
    path = timeline.provenance.path.encode("utf-8", "backslashreplace").decode()
    return {
        "start_s": timeline.spans_s[:, 0].astype(np.float64),
        "end_s": timeline.spans_s[:, 1].astype(np.float64),
        "track": [None if track == NO_TRACK else track for track in timeline.track.tolist()],
        "FaceRectX": x1,
        "FaceRectY": y1,
        "FaceRectWidth": x2 - x1,
        "FaceRectHeight": y2 - y1,
        **dict(zip(timeline.labels, timeline.probs.T.astype(np.float64), strict=True)),
        "leading": [label or None for label in timeline.leading],
        "modalities": [str(name) or None for name in timeline.modalities],
        "padded": timeline.padded,
        "input": [path] * len(timeline),
    }
