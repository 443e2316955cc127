"""A Timeline as one HTML page that opens anywhere, offline.

Nothing is fetched: Plotly's script is in the page, thumbnails are data, and the page's own content
security policy forbids the network.
"""

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from emoscope.core.arrays import FloatArray
from emoscope.core.results import Segment, Timeline, TrackSummary
from emoscope.reports.html_template import NOBODY, PAGE, SCRIPT, STYLE
from emoscope.reports.palette import NO_COLOUR, UNSURE, colours
from emoscope.reports.thumbnails import Peak, peaks, read_thumbnails

__all__ = ["MAX_POINTS", "outline", "page"]


MAX_POINTS = 4000  # a person; an hour at 10 Hz has 36 000
SEGMENT_MIN_S = 0.5
LEAST_SHARE = 1e-6  # less is rounding
OPEN_ROWS = 12  # a longer table is folded

_VOTED = {
    "sum-probability": "on average",
    "max-probability": "most often",
    "expressive-weighted": "on average, neutral moments counting less,",
}


def page(timeline: Timeline, video: str | Path | None = None) -> str:
    """The whole page. Thumbnails are read from `video`, left out where it is None or unreadable."""
    from plotly.offline import get_plotlyjs

    people = sorted(timeline.summary(), key=lambda person: -person.seen_s)
    wanted = [peak for person in people for peak in peaks(timeline, person.track)]
    faces = read_thumbnails(video, wanted) if video else {}
    parts = [timeline.of(person.track) for person in people]
    segments = [part.segments(SEGMENT_MIN_S) for part in parts]
    sections = [
        _section(person, part, stretches, {p: faces[p] for p in faces if p.track == person.track})
        for person, part, stretches in zip(people, parts, segments, strict=True)
    ]
    plots = {
        "labels": timeline.labels,
        "colours": list(colours(timeline.labels).values()),
        "end_s": _end_s(timeline),
        "people": [_plot(part, its) for part, its in zip(parts, segments, strict=True)],
    }
    return PAGE.substitute(
        title=_text(_name(timeline)),
        style=STYLE,
        facts=_facts(timeline),
        people="\n".join(sections) or NOBODY,
        notes="".join(f"<li>{_text(note)}</li>" for note in timeline.provenance.notes),
        plotly=get_plotlyjs(),
        # A "<" in a label could close the script element.
        data=json.dumps(plots, allow_nan=False).replace("<", "\\u003c"),
        script=SCRIPT,
    )


def outline(timeline: Timeline, max_points: int = MAX_POINTS) -> tuple[FloatArray, FloatArray]:
    """Vertices of one face's stacked areas: times (M,) and probabilities (M, C).

    One vertex at the middle of a span, and one at each end of a stretch of touching spans; all
    zero from one stretch to the next, where the face was not seen. More rows than `max_points`
    are averaged in as many equal parts of the time.
    """
    spans_s, probs, gap_s = _thinned(timeline, max_points)
    if not len(spans_s):
        return np.empty(0), np.empty((0, probs.shape[1]))
    apart = np.flatnonzero(spans_s[1:, 0] - spans_s[:-1, 1] >= gap_s) + 1
    nothing = np.zeros((1, probs.shape[1]))
    times, values = [], []
    for run in np.split(np.arange(len(spans_s)), apart):
        first, last = spans_s[run[0], 0], spans_s[run[-1], 1]
        times += [[first, first], spans_s[run].mean(axis=1), [last, last]]
        values += [nothing, probs[run[:1]], probs[run], probs[run[-1:]], nothing]
    return np.concatenate(times), np.concatenate(values)


def _thinned(timeline: Timeline, max_points: int) -> tuple[FloatArray, FloatArray, float]:
    """Spans and probabilities, at most `max_points`, and from what length on a gap is one."""
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


def _plot(part: Timeline, segments: Sequence[Segment]) -> dict[str, Any]:
    """What the page's script draws of one face, rounded."""
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


def _section(
    person: TrackSummary,
    part: Timeline,
    segments: Sequence[Segment],
    faces: Mapping[Peak, bytes],
) -> str:
    leading = _text(person.leading or UNSURE)
    voted = _VOTED.get(part.provenance.vote, "by vote")
    seen = f"{_clock(person.start_s)}–{_clock(person.end_s)}"
    colour = colours(part.labels)
    pictures = "".join(_figure(peak, jpeg, colour[peak.label]) for peak, jpeg in faces.items())
    return f"""<section class="person" aria-labelledby="person-{person.track}">
<header><h2 id="person-{person.track}">Person {person.track}</h2>
<p>{voted} <b>{leading}</b> <span class="quiet">· seen for {_length(person.seen_s)},
{seen}</span></p></header>
<p>Share of the time in which each expression led</p>
{_key(person)}
<p>Probability of each expression over time; below, the one that led</p>
<div class="plot" role="img" aria-label="Expressions of person {person.track} over time, which
the table of segments below gives in words"></div>
{_thinning(part)}
{f'<p>Each at its strongest</p><div class="peaks">{pictures}</div>' if pictures else ""}
{_table(person, segments)}
</section>"""


def _key(person: TrackSummary) -> str:
    """Every label with its colour and its share: the plot's legend and the summary in one."""
    colour = {**colours(list(person.shares)), UNSURE: NO_COLOUR}
    shares = sorted(person.shares.items(), key=lambda entry: -entry[1])
    unsure = 1 - sum(person.shares.values())
    if unsure > LEAST_SHARE:
        shares.append((UNSURE, unsure))
    bar = "".join(
        f'<i style="width:{100 * share:.2f}%;background:{colour[label]}"></i>'
        for label, share in shares
        if share > 0
    )
    entries = "".join(
        f'<li{"" if share > 0 else " class=never"}><i style="background:{colour[label]}"></i>'
        f"{_text(label)} <b>{_percent(share)}</b></li>"
        for label, share in shares
    )
    return f"""<div class="bar" aria-hidden="true">{bar}</div>
<ul class="key">{entries}</ul>"""


def _thinning(part: Timeline) -> str:
    if int(part.seen.sum()) <= MAX_POINTS:
        return ""
    step_s = (part.spans_s[:, 1].max() - part.spans_s[0, 0]) / MAX_POINTS
    return f"<p>Each point of the plot is the mean of {step_s:.1f} s.</p>"


def _figure(peak: Peak, jpeg: bytes, colour: str) -> str:
    picture = base64.b64encode(jpeg).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{picture}" width="96" height="96" '
        f'alt="Face of person {peak.track} at {_clock(peak.start_s)}, {_text(peak.label)}">'
        f'<figcaption><i style="background:{colour}"></i><b>{_text(peak.label)}</b>'
        f"<span>{_percent(peak.probability)} · {_clock(peak.start_s)}</span></figcaption></figure>"
    )


def _table(person: TrackSummary, segments: Sequence[Segment]) -> str:
    colour = colours(list(person.shares))
    rows = "".join(
        f"<tr><td>{_clock(s.start_s)}</td><td>{_clock(s.end_s)}</td>"
        f"<td>{s.end_s - s.start_s:.1f} s</td>"
        f'<td class="word"><i style="background:{colour[s.label]}"></i>{_text(s.label)}</td>'
        f"<td>{_percent(s.probability)}</td></tr>\n"
        for s in segments
    )
    return f"""<details{" open" if len(segments) <= OPEN_ROWS else ""}>
<summary>{len(segments)} segment{"" if len(segments) == 1 else "s"}
<span class="quiet">of {SEGMENT_MIN_S} s or more</span></summary>
<div class="scroll"><table><thead><tr><th scope="col">From</th><th scope="col">To</th>
<th scope="col">Length</th><th scope="col" class="word">Expression</th>
<th scope="col">Mean probability</th></tr></thead>
<tbody>
{rows}</tbody></table></div></details>"""


def _facts(timeline: Timeline) -> str:
    """The video and how it was read, as terms and descriptions; what is unknown is left out."""
    source = timeline.provenance
    facts = {
        "Length": _clock(_end_s(timeline)),
        "Picture": f"{source.width} × {source.height}" if source.width else "",
        "Frames": "" if math.isnan(source.fps) else f"{source.fps:.4g} a second",
        "People": str(len(timeline.tracks)),
        "Model": f"{source.model} {source.model_version}".strip(),
        "Members": ", ".join(source.members),
        "Fusion": source.rule,
        "Prior": source.prior,
        "Vote": source.vote,
        "Smoothing": f"{source.smooth_s:g} s" if source.smooth_s else "",
        "Least confidence": f"{source.min_confidence:.0%}" if source.min_confidence else "",
        "Detector": source.detector,
        "Rate": f"{source.rate_hz:g} Hz" if source.rate_hz else "",
        "Emoscope": source.emoscope,
    }
    return "".join(
        f"<div><dt>{term}</dt><dd>{_text(fact)}</dd></div>" for term, fact in facts.items() if fact
    )


def _name(timeline: Timeline) -> str:
    return PurePath(timeline.provenance.path).name or "Timeline"


def _end_s(timeline: Timeline) -> float:
    last = float(timeline.spans_s[:, 1].max()) if len(timeline) else 0.0
    return float(np.nanmax([timeline.provenance.duration_s, last]))


def _text(text: str) -> str:
    """Safe in the page: escaped, and bytes of a file name that are no text spelt out."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode())


def _percent(share: float) -> str:
    return "&lt;1\u00a0%" if 0 < share < 0.005 else f"{100 * share:.0f}\u00a0%"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else _clock(seconds)


def _clock(time_s: float) -> str:
    """63.25 -> "1:03.2"; with hours where there are any."""
    tenths = round(10 * time_s)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02}.{rest % 10}"
