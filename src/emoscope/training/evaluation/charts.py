"""Pictures of an evaluation page as inline SVG, in the page's own colours, light or dark.

Colours are the page's CSS variables: --ink, --quiet, --line, --paper and --accent.
"""

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from emoscope.core.arrays import FloatArray, IntArray

__all__ = ["confusion_chart", "curves_chart", "reliability_chart"]


_LETTER_PX = 7  # mean width of a letter of 12 px

Point = tuple[float, float]


def confusion_chart(counts: IntArray, labels: Sequence[str]) -> str:
    """(C, C) counts, rows are the truth: each cell its share of the row, in percent and as ink,
    and the count beneath."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = 64 if len(labels) <= 8 else 46
    names = _LETTER_PX * max(map(len, labels)) + 14
    above = round(0.7 * names) + 24
    side = cell * len(labels)
    parts = []
    for k, label in enumerate(labels):
        middle = (k + 0.5) * cell
        x, y = names + middle, above - 8
        parts.append(_text(label, (x, y), "start", turn=-45))
        parts.append(_text(label, (names - 10, above + middle + 4), "end"))
    for i, truth in enumerate(labels):
        for j, said in enumerate(labels):
            place = (names + j * cell, above + i * cell)
            title = f"{truth} called {said}: {counts[i, j]} of {counts[i].sum()}"
            parts.append(_cell(place, cell, float(shares[i, j]), int(counts[i, j]), title))
    width, height = names + side + above, above + side + 8
    return _svg(width, height, "Confusion matrix: rows are the truth", parts)


def curves_chart(series: Mapping[str, Sequence[Point]], title: str) -> str:
    """One thin line a training: {name: [(epoch, value), ...]}; values that are not finite break
    off. An empty text where there is nothing to draw."""
    lines = {
        name: [point for point in points if math.isfinite(point[1])]
        for name, points in series.items()
    }
    drawn = [point for points in lines.values() for point in points]
    if not drawn:
        return ""
    frame = _Frame.around(drawn, width=460, height=240)
    opacity = max(0.2, 1 / math.sqrt(len(lines)))
    parts = frame.axes("epoch")
    for name, points in lines.items():
        if points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(frame.place, points))
            end = path.rsplit(" ", 1)[-1]  # twice, so that a single epoch is a dot
            parts.append(
                f'<polyline points="{path} {end}" fill="none" stroke="var(--accent)" '
                f'stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" '
                f'stroke-opacity="{opacity:.2f}"><title>{html.escape(name)}</title></polyline>'
            )
    return _svg(frame.width, frame.height, title, parts)


def reliability_chart(probs: FloatArray, truth: IntArray, bins: int = 15) -> str:
    """Accuracy over confidence in equal bins, against the diagonal of a calibrated model; a bar's
    ink is its share of the clips."""
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    frame = _Frame((0.0, 1.0), (0.0, 1.0), width=460, height=240)
    parts = frame.axes("confidence")
    most = int(np.bincount(place).max())
    for k in np.unique(place).tolist():
        mine = place == k
        n, share = int(mine.sum()), float(right[mine].mean())
        (left, top), (side, floor) = (
            frame.place((k / bins, share)),
            frame.place(((k + 1) / bins, 0)),
        )
        title = f"confidence {k / bins:.2f} to {(k + 1) / bins:.2f}: {share:.0%} right, {n} answers"
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{top:.1f}" width="{side - left - 2:.1f}" '
            f'height="{floor - top + 0.5:.1f}" fill="var(--accent)" '
            f'fill-opacity="{0.25 + 0.75 * n / most:.2f}"><title>{title}</title></rect>'
        )
    (x0, y0), (x1, y1) = frame.place((0, 0)), frame.place((1, 1))
    parts.append(
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="var(--quiet)" '
        'stroke-dasharray="4 4"/>'
    )
    return _svg(frame.width, frame.height, "Accuracy over confidence", parts)


class _Frame:
    """Where a point of the data stands in the picture, and the axes around it."""

    left, right, top, bottom = 52, 12, 10, 40

    def __init__(self, x: Point, y: Point, width: int, height: int, x_step: float = 0.0) -> None:
        self.x, self.y, self.width, self.height, self.x_step = x, y, width, height, x_step

    @classmethod
    def around(cls, points: Sequence[Point], width: int, height: int) -> "_Frame":
        """For values over epochs."""
        (x0, y0), (x1, y1) = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
        room = 0.05 * (y1 - min(y0, 0.0)) or 0.5
        low = 0.0 if y0 >= 0 else y0 - room
        return cls((x0, max(x1, x0 + 1)), (low, y1 + room), width, height, x_step=1)

    def place(self, point: Point) -> Point:
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        up = (point[1] - self.y[0]) / (self.y[1] - self.y[0])
        return (
            self.left + across * (self.width - self.left - self.right),
            self.height - self.bottom - up * (self.height - self.top - self.bottom),
        )

    def axes(self, name: str) -> list[str]:
        """Horizontal lines with their values, values beneath, and what runs along."""
        parts = []
        for value in _ticks(*self.y):
            y = self.place((self.x[0], value))[1]
            parts.append(
                f'<line x1="{self.left}" y1="{y:.1f}" x2="{self.width - self.right}" y2="{y:.1f}" '
                'stroke="var(--line)"/>'
            )
            parts.append(
                _text(f"{value:g}", (self.left - 8, y + 4), "end", size=11, colour="quiet")
            )
        floor = self.height - self.bottom + 18
        for value in _ticks(*self.x, least=self.x_step):
            x = self.place((value, self.y[0]))[0]
            parts.append(_text(f"{value:g}", (x, floor), "middle", size=11, colour="quiet"))
        middle = (self.left + self.width - self.right) / 2
        parts.append(_text(name, (middle, floor + 18), "middle", size=11, colour="quiet"))
        return parts


def _ticks(low: float, high: float, most: int = 6, least: float = 0.0) -> list[float]:
    """About `most` round numbers in [low, high], at least `least` apart."""
    rough = max((high - low) / most, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _cell(place: Point, size: int, share: float, count: int, title: str) -> str:
    x, y = place
    box = (
        f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="var(--accent)" '
        f'fill-opacity="{share:.3f}" stroke="var(--line)"/>'
    )
    words = ""
    if count:
        colour = "paper" if share > 0.7 else "ink"  # either reads well on its half of the scale
        middle = x + size / 2
        words = _text(f"{100 * share:.0f}", (middle, y + size / 2), "middle", colour=colour)
        words += _text(f"{count}", (middle, y + size / 2 + 15), "middle", size=10, colour=colour)
    return f"<g><title>{html.escape(title)}</title>{box}{words}</g>"


def _text(
    text: str,
    place: Point,
    anchor: str,
    *,
    turn: int = 0,
    size: int = 12,
    colour: str = "ink",
) -> str:
    x, y = place
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="var(--{colour})"{turned}>{html.escape(text)}</text>'
    )


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{html.escape(label)}">\n{body}\n</svg>'
    )
