"""Charts of the evaluation page as inline SVG in the page's colours, light or dark.

Colours are the page's CSS variables: --ink, --quiet, --line, --paper and --accent.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from emoscope.core.arrays import FloatArray, IntArray

__all__ = ["confusion_chart", "curves_chart", "reliability_chart"]


_LETTER_PX = 7  # mean width of a letter at 12 px

Point = tuple[float, float]


def confusion_chart(counts: IntArray, labels: Sequence[str]) -> Markup:
    """Draw (C, C) counts, rows are the truth: each cell's share of its row as colour and in
    percent, with the count below."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = 64 if len(labels) <= 8 else 46
    left = _LETTER_PX * max(map(len, labels)) + 14
    top = round(0.7 * left) + 24
    side = cell * len(labels)
    parts = []
    for k, label in enumerate(labels):
        middle = (k + 0.5) * cell
        parts.append(_text(label, (left + middle, top - 8), "start", turn=-45))
        parts.append(_text(label, (left - 10, top + middle + 4), "end"))
    for i, truth in enumerate(labels):
        for j, predicted in enumerate(labels):
            x, y, share, count = left + j * cell, top + i * cell, shares[i, j], counts[i, j]
            title = f"{truth} predicted as {predicted}: {count} of {counts[i].sum()}"
            rect = Markup(
                '<rect x="{}" y="{}" width="{}" height="{}" fill="var(--accent)" '
                'fill-opacity="{:.3f}" stroke="var(--line)"/>'
            ).format(x, y, cell, cell, share)
            figures = Markup()
            if count:
                colour = "paper" if share > 0.7 else "ink"  # readable on its half of the scale
                centre = (x + cell / 2, y + cell / 2)
                below = (x + cell / 2, y + cell / 2 + 15)
                figures += _text(f"{100 * share:.0f}", centre, "middle", colour=colour)
                figures += _text(f"{count}", below, "middle", size=10, colour=colour)
            parts.append(Markup("<g><title>{}</title>{}{}</g>").format(title, rect, figures))
    size = (left + side + top, top + side + 8)
    return _svg(size, "Confusion matrix: rows are the truth", parts)


def curves_chart(series: Mapping[str, Sequence[Point]], title: str) -> Markup:
    """Draw one line per training: {name: [(epoch, value), ...]}, without values that are not
    finite. Empty if there is nothing to draw."""
    lines = {
        name: [point for point in points if math.isfinite(point[1])]
        for name, points in series.items()
    }
    drawn = [point for points in lines.values() for point in points]
    if not drawn:
        return Markup()
    frame = _Frame.around(drawn)
    opacity = max(0.2, 1 / math.sqrt(len(lines)))
    parts = frame.axes("epoch")
    for name, points in lines.items():
        if points:
            path = [f"{x:.1f},{y:.1f}" for x, y in map(frame.place, points)]
            path.append(path[-1])  # the last point twice, so that a single epoch is a dot
            parts.append(
                Markup(
                    '<polyline points="{}" fill="none" stroke="var(--accent)" stroke-width="1.5" '
                    'stroke-linecap="round" stroke-linejoin="round" stroke-opacity="{:.2f}">'
                    "<title>{}</title></polyline>"
                ).format(" ".join(path), opacity, name)
            )
    return _svg((frame.width, frame.height), title, parts)


def reliability_chart(probs: FloatArray, truth: IntArray, bins: int = 15) -> Markup:
    """Draw accuracy over confidence in equal bins, and the diagonal of a calibrated model. A bar's
    opacity is its share of the predictions."""
    confidence = probs.max(axis=1)
    is_right = probs.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    frame = _Frame((0.0, 1.0), (0.0, 1.0))
    parts = frame.axes("confidence")
    largest = int(np.bincount(bin_of).max())
    for k in np.unique(bin_of).tolist():
        count, share = int(np.sum(bin_of == k)), float(is_right[bin_of == k].mean())
        left, top = frame.place((k / bins, share))
        right, floor = frame.place(((k + 1) / bins, 0))
        title = (
            f"confidence {k / bins:.2f} to {(k + 1) / bins:.2f}: {100 * share:.0f} % correct, "
            f"{count} predictions"
        )
        parts.append(
            Markup(
                '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="var(--accent)" '
                'fill-opacity="{:.2f}"><title>{}</title></rect>'
            ).format(
                left + 1,
                top,
                right - left - 2,
                floor - top + 0.5,
                0.25 + 0.75 * count / largest,
                title,
            )
        )
    (x0, y0), (x1, y1) = frame.place((0, 0)), frame.place((1, 1))
    parts.append(
        Markup(
            '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="var(--quiet)" '
            'stroke-dasharray="4 4"/>'
        ).format(x0, y0, x1, y1)
    )
    return _svg((frame.width, frame.height), "Accuracy over confidence", parts)


class _Frame:
    """Axes of a chart, and the position of a data point in it."""

    width, height = 460, 240
    left, right, top, bottom = 52, 12, 10, 40

    def __init__(self, x: Point, y: Point, x_step: float = 0.0) -> None:
        self.x, self.y, self.x_step = x, y, x_step

    @classmethod
    def around(cls, points: Sequence[Point]) -> "_Frame":
        """Fit the axes to values over epochs."""
        (x0, y0), (x1, y1) = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
        room = 0.05 * (y1 - min(y0, 0.0)) or 0.5
        low = 0.0 if y0 >= 0 else y0 - room
        return cls((x0, max(x1, x0 + 1)), (low, y1 + room), x_step=1)

    def place(self, point: Point) -> Point:
        """Return the pixel position of a data point."""
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        up = (point[1] - self.y[0]) / (self.y[1] - self.y[0])
        return (
            self.left + across * (self.width - self.left - self.right),
            self.height - self.bottom - up * (self.height - self.top - self.bottom),
        )

    def axes(self, name: str) -> list[Markup]:
        """Draw horizontal grid lines, tick labels, and the name of the horizontal axis."""
        parts = []
        for value in _ticks(*self.y):
            y = self.place((self.x[0], value))[1]
            parts.append(
                Markup(
                    '<line x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}" stroke="var(--line)"/>'
                ).format(self.left, y, self.width - self.right, y)
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
    """Return about `most` round numbers in [low, high], at least `least` apart."""
    rough = max((high - low) / most, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _text(
    text: str,
    place: Point,
    anchor: str,
    *,
    turn: int = 0,
    size: int = 12,
    colour: str = "ink",
) -> Markup:
    x, y = place
    rotation = Markup(' transform="rotate({} {:.1f} {:.1f})"').format(turn, x, y) if turn else ""
    return Markup(
        '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="{}" fill="var(--{})"{}>{}</text>'
    ).format(x, y, anchor, size, colour, rotation, text)


def _svg(size: Point, label: str, parts: Sequence[Markup]) -> Markup:
    width, height = size
    return Markup(
        '<svg viewBox="0 0 {:g} {:g}" width="{:g}" role="img" aria-label="{}">\n{}\n</svg>'
    ).format(width, height, width, label, Markup("\n").join(parts))
