"""A Timeline as one HTML page that opens anywhere, offline.

The page loads nothing: Plotly's script is part of it, thumbnails are embedded, and its content
security policy forbids network access.
"""

import base64
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from emoscope.core.arrays import FloatArray
from emoscope.core.results import Segment, Timeline, TrackSummary
from emoscope.reports.formats import FORMATS, ReportFormat, Source, source_of
from emoscope.reports.html_template import SCRIPT, STYLE, template
from emoscope.reports.palette import NO_COLOUR, UNSURE, colours
from emoscope.reports.thumbnails import Peak, peaks, read_thumbnails

__all__ = ["MAX_POINTS", "outline", "page", "write_html"]


MAX_POINTS = 4000  # per person; an hour at 10 Hz has 36 000
MIN_SEGMENT_S = 0.5
MIN_SHARE = 1e-6  # smaller shares are rounding errors
MAX_OPEN_ROWS = 12  # a longer table is collapsed

_VOTES = {
    "sum-probability": "on average",
    "max-probability": "most often",
    "expressive-weighted": "on average, with less weight on neutral moments",
}


def page(timeline: Timeline, video: str | Path | None = None) -> str:
    """Render the page. Thumbnails are read from `video`; without it the page has none."""
    from plotly.offline import get_plotlyjs  # slow to import

    summaries = sorted(timeline.summary(), key=lambda person: -person.seen_s)
    wanted = [peak for person in summaries for peak in peaks(timeline, person.track)]
    thumbnails = read_thumbnails(video, wanted) if video else {}
    parts = [timeline.for_track(person.track) for person in summaries]
    segments = [part.segments(MIN_SEGMENT_S) for part in parts]
    colour = colours(timeline.labels)
    filters = {"clock": _clock, "length_of_time": _length_of_time, "percent": _percent}
    text = template(filters).render(
        source=json.dumps(source_of(timeline)),
        title=PurePath(timeline.provenance.path).name or "Timeline",
        facts=_facts(timeline),
        people=[
            _section(person, part, segments_of_part, thumbnails)
            for person, part, segments_of_part in zip(summaries, parts, segments, strict=True)
        ],
        vote=_VOTES.get(timeline.provenance.vote, "by vote"),
        colours={**colour, UNSURE: NO_COLOUR},
        max_open_rows=MAX_OPEN_ROWS,
        min_segment_s=MIN_SEGMENT_S,
        notes=timeline.provenance.notes,
        plots={
            "labels": timeline.labels,
            "colours": list(colour.values()),
            "end_s": timeline.duration_s,
            "people": list(map(_plot_data, parts, segments)),
        },
        plotly=get_plotlyjs(),
        style=STYLE,
        script=SCRIPT,
    )
    return text.encode("utf-8", "backslashreplace").decode()  # a file name may not be text


def _section(
    person: TrackSummary,
    part: Timeline,
    segments: Sequence[Segment],
    thumbnails: Mapping[Peak, bytes],
) -> dict[str, Any]:
    """Values of one person's section for the template."""
    shares = sorted(person.shares.items(), key=lambda entry: -entry[1])
    unsure = 1 - sum(person.shares.values())
    if unsure > MIN_SHARE:
        shares.append((UNSURE, unsure))
    is_thinned = part.seen.sum() > MAX_POINTS
    length_s = part.spans_s[:, 1].max() - part.spans_s[0, 0]
    return {
        "track": person.track,
        "leading": person.leading or UNSURE,
        "start_s": person.start_s,
        "end_s": person.end_s,
        "seen_s": person.seen_s,
        "shares": shares,
        "step_s": length_s / MAX_POINTS if is_thinned else None,
        "faces": [
            (peak, base64.b64encode(jpeg).decode())
            for peak, jpeg in thumbnails.items()
            if peak.track == person.track
        ],
        "segments": segments,
    }


def outline(timeline: Timeline, max_points: int = MAX_POINTS) -> tuple[FloatArray, FloatArray]:
    """Return the vertices of one face's stacked areas: times (M,) and probabilities (M, C).

    There is one vertex at the middle of each span and one at each end of a run of adjacent spans.
    Probabilities are zero between runs, where the face was not seen. More rows than `max_points`
    are averaged over that many intervals of equal length.
    """
    spans_s, probs, gap_s = _thin(timeline, max_points)
    if not len(spans_s):
        return np.empty(0), np.empty((0, probs.shape[1]))
    starts = np.flatnonzero(spans_s[1:, 0] - spans_s[:-1, 1] >= gap_s) + 1
    zeros = np.zeros((1, probs.shape[1]))
    times, values = [], []
    for run in np.split(np.arange(len(spans_s)), starts):
        first, last = spans_s[run[0], 0], spans_s[run[-1], 1]
        times += [[first, first], spans_s[run].mean(axis=1), [last, last]]
        values += [zeros, probs[run[:1]], probs[run], probs[run[-1:]], zeros]
    return np.concatenate(times), np.concatenate(values)


def _thin(timeline: Timeline, max_points: int) -> tuple[FloatArray, FloatArray, float]:
    """Return at most `max_points` spans and probabilities, and the length from which a distance
    between two spans is a gap."""
    seen = timeline.seen
    spans_s, probs = timeline.spans_s[seen], timeline.probs[seen]
    if len(spans_s) <= max_points:
        return spans_s, probs, 1e-3
    start_s, end_s = spans_s[0, 0], spans_s[:, 1].max()
    width_s = (end_s - start_s) / max_points
    part = ((spans_s[:, 0] - start_s) / width_s).astype(int).clip(0, max_points - 1)
    first = np.flatnonzero(np.diff(part, prepend=-1))
    counts = np.diff(first, append=len(part))
    means = np.add.reduceat(probs, first) / counts[:, None]
    ends_s = np.maximum.reduceat(spans_s[:, 1], first)
    return np.column_stack([spans_s[first, 0], ends_s]), means, width_s


def _plot_data(part: Timeline, segments: Sequence[Segment]) -> dict[str, Any]:
    """Rounded data of one face's plot, for the page's script."""
    times_s, probs = outline(part)
    return {
        "x": np.round(times_s, 3).tolist(),
        "y": np.round(probs.T, 4).tolist(),
        "segments": [
            [
                round(segment.start_s, 3),
                round(segment.end_s, 3),
                part.labels.index(segment.label),
                round(segment.probability, 3),
            ]
            for segment in segments
        ],
    }


def _facts(timeline: Timeline) -> dict[str, str]:
    """Facts about the video and the analysis; "" if unknown."""
    source = timeline.provenance
    return {
        "Duration": _clock(timeline.duration_s),
        "Resolution": f"{source.width} × {source.height}" if source.width else "",
        "Frame rate": "" if math.isnan(source.fps) else f"{source.fps:.4g} fps",
        "People": str(len(timeline.tracks)),
        "Model": f"{source.model} {source.model_version}".strip(),
        "Combined models": ", ".join(source.members),
        "Fusion rule": source.rule,
        "Prior": source.prior,
        "Vote": source.vote,
        "Windows": " every ".join(f"{s:g} s" for s in (source.window_s, source.stride_s) if s),
        "Smoothing": f"{source.smooth_s:g} s" if source.smooth_s else "",
        "Minimum confidence": f"{source.min_confidence:.0%}" if source.min_confidence else "",
        "Detector": source.detector,
        "Analysis rate": f"{source.rate_hz:g} Hz" if source.rate_hz else "",
        "Emoscope": source.emoscope,
    }


def _percent(share: float) -> str:
    return "<1\u00a0%" if 0 < share < 0.005 else f"{100 * share:.0f}\u00a0%"


def _length_of_time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else _clock(seconds)


def _clock(time_s: float) -> str:
    """Format seconds as minutes: 63.25 -> "1:03.2". Hours are shown if there are any."""
    tenths = round(10 * time_s)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02}.{rest % 10}"


def write_html(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """One page that opens offline: plots over time, faces at the peaks, a table of segments."""
    path.write_text(page(timeline, video), encoding="utf-8")


def html_source(path: Path) -> Source:
    """Recording and model of a page, from its head."""
    with path.open(encoding="utf-8") as file:
        head = file.read(100_000)
    (content,) = re.findall(r'<meta name="emoscope" content="([^"]*)">', head)
    source: Source = json.loads(html.unescape(content))
    return source


FORMATS.add("html", ReportFormat(".html", write_html, html_source))
