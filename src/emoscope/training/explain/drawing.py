"""Draw explanations as sheets (PNG) and films (MP4)."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import FloatArray, Picture
from emoscope.media.video import Frame
from emoscope.media.writer import write_video
from emoscope.training.explain.attribution import Explanation, HeatMaps
from emoscope.training.explain.names import Source, drawing_stem
from emoscope.training.explain.sampling_points import SamplingPoints
from emoscope.training.explain.tiles import (
    captioned,
    columns_for,
    enlarged,
    heated,
    in_rows,
    titled,
    width_of,
    write_png,
    zoom,
)

__all__ = ["heat_film", "heat_sheet", "points_film", "points_sheet", "write_explanation"]

Colour = tuple[int, int, int]

_KINDS = ("gradcam", "saliency", "offsets")
_POSITIONS = 5  # per side whose sampling points are drawn; all of them would hide the picture
_MAX_LAST_S = 1.0  # duration of a film's last frame


def write_explanation(
    explanation: Explanation, folder: Path, name: str, source: Source
) -> list[Path]:
    """Write NAME-gradcam.png and .mp4, NAME-saliency.png and .mp4, and NAME-offsets.png and .mp4.

    Files are written for the explanations that there are; films (.mp4) for clips of more than one
    frame. They replace only drawings of the same source; others have their name extended. Returns
    the paths. Raises MediaError."""
    drawings = {
        kind: (heat_sheet(explanation, heats), heat_film(explanation, heats))
        for kind, heats in (("gradcam", explanation.gradcam), ("saliency", explanation.saliency))
        if heats
    }
    if explanation.sampling:
        drawings["offsets"] = points_sheet(explanation), points_film(explanation)
    name = drawing_stem(name, _KINDS, source, folder)
    written = []
    for kind, (picture, film) in drawings.items():
        written.append(folder / f"{name}-{kind}.png")
        write_png(written[-1], picture, source)
        if len(explanation.frames) > 1:
            written.append(folder / f"{name}-{kind}.mp4")
            write_video(written[-1], film, start_s=explanation.times_s[0])
    return written


def heat_sheet(explanation: Explanation, heats: Sequence[HeatMaps]) -> Picture:
    """(H, W, 3): every frame with its heat map, in rows per stream, with a caption.

    A dynamic image is one picture: its map is drawn once, on the middle frame."""
    strips = [_heat_tiles(explanation, heat, several=len(heats) > 1) for heat in heats]
    single = [tile for tiles in strips if len(tiles) == 1 for tile in tiles]
    strips = [tiles for tiles in [*(s for s in strips if len(s) > 1), single] if tiles]
    columns = columns_for(max(map(len, strips)))
    rows = [in_rows(tiles, columns) for tiles in strips]
    return captioned(np.vstack(rows), *_heat_caption(explanation, heats), heat=True)


def heat_film(explanation: Explanation, heats: Sequence[HeatMaps]) -> Iterator[Frame]:
    """The frames at their times: plain on the left, then with the heat map of each stream."""
    pictures = (
        np.hstack([enlarged(frame), *(heated(frame, heat.maps[t]) for heat in heats)])
        for t, frame in enumerate(explanation.frames)
    )
    captions = [_heat_caption(explanation, heats)] * len(explanation.frames)
    return _film(explanation, pictures, captions, heat=True)


def points_sheet(explanation: Explanation) -> Picture:
    """(H, W, 3): one row per layer with the first frame of each deformable step."""
    columns = max(len(layer.steps) for layer in explanation.sampling)
    rows = []
    for layer in explanation.sampling:
        tiles = []
        for i, step in enumerate(layer.steps):
            first = layer.frames[i][0]
            title = f"{layer.layer}, step {step}, {explanation.times_s[first]:.2f} s"
            tiles.append(titled(_pointed(explanation.frames[first], layer, i), title))
        rows.append(in_rows(tiles, columns))
    lines = [_offsets(layer) for layer in explanation.sampling]
    about = "One colour per position; lines start where an ordinary convolution would sample"
    return captioned(np.vstack(rows), "Sampling points of deformable steps", about, *lines)


def points_film(explanation: Explanation) -> Iterator[Frame]:
    """The frames at their times, for each layer side by side; without points where the step that
    covers a frame is not deformable."""
    layers = explanation.sampling
    pictures, captions = [], []
    for t, frame in enumerate(explanation.frames):
        steps = [
            next((i for i, frames in enumerate(x.frames) if t in frames), None) for x in layers
        ]
        panels = [
            _dimmed(frame) if i is None else _pointed(frame, layer, i)
            for layer, i in zip(layers, steps, strict=True)
        ]
        names = [
            f"{layer.layer}: {'not deformable' if i is None else f'step {layer.steps[i]}'}"
            for layer, i in zip(layers, steps, strict=True)
        ]
        pictures.append(np.hstack(panels))
        captions.append((", ".join(names),))
    return _film(explanation, pictures, captions)


def _heat_tiles(explanation: Explanation, heat: HeatMaps, several: bool) -> list[Picture]:
    frames, times_s = explanation.frames, explanation.times_s
    stream = f"{heat.stream}, " if several else ""
    if heat.is_dynamic and len(frames) > 1:
        middle = len(frames) // 2
        return [titled(heated(frames[middle], heat.maps[middle]), f"{heat.stream}, whole clip")]
    return [
        titled(heated(frame, of_frame), f"{stream}{time_s:.2f} s")
        for frame, of_frame, time_s in zip(frames, heat.maps, times_s, strict=True)
    ]


def _heat_caption(explanation: Explanation, heats: Sequence[HeatMaps]) -> tuple[str, ...]:
    """A line with the label and its probability, and a line for each stream."""
    frames = len(explanation.frames)
    shown = "one frame" if frames == 1 else f"{frames} frames"
    lines = [f"{explanation.label} {explanation.probability:.0%}"]
    for heat in heats:
        stream = f"{heat.stream}: " if len(heats) > 1 else ""
        maps = "one map" if heat.steps == 1 else f"{heat.steps} maps"
        nothing = "" if heat.maps.any() else "; no positive influence"
        lines.append(f"{stream}{heat.method}, {heat.layer}: {maps} of {shown}{nothing}")
    return tuple(lines)


def _offsets(layer: SamplingPoints) -> str:
    offsets_px = layer.offsets_px
    return (
        f"{layer.layer}: {len(layer.steps)} steps, mean offset {offsets_px.mean():.2f} px, at most "
        f"{offsets_px.max():.2f} px of the input frame"
    )


def _film(
    explanation: Explanation,
    pictures: Iterable[Picture],
    captions: Sequence[tuple[str, ...]],
    heat: bool = False,
) -> Iterator[Frame]:
    """Captioned frames, each shown until the next one; repeated (padded) frames are left out."""
    times_s = explanation.times_s
    span_s = times_s[-1] - times_s[0]
    last_s = min(_MAX_LAST_S, span_s / (len(times_s) - 1)) if span_s else _MAX_LAST_S
    ends_s = [*times_s[1:], times_s[-1] + last_s]
    texts = [
        (f"{first}, {at:.2f} s", *rest)
        for (first, *rest), at in zip(captions, times_s, strict=True)
    ]
    min_width_px = max(map(width_of, texts))
    for i, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        if i and times_s[i] <= times_s[i - 1]:
            continue
        later = next((end_s for end_s in ends_s[i:] if end_s > times_s[i]), times_s[i] + last_s)
        whole = captioned(picture, *lines, heat=heat, min_width_px=min_width_px)
        yield Frame(whole, times_s[i], i, later - times_s[i])


def _dimmed(frame: Picture) -> Picture:
    return (0.55 * enlarged(frame)).astype(np.uint8)


def _pointed(frame: Picture, layer: SamplingPoints, i: int) -> Picture:
    """Draw the sampling points of a coarse grid of positions, one colour per position, with lines
    from the regular points. The size of a point is its weight."""
    picture = _dimmed(frame)
    factor = zoom(frame.shape[0])
    height, width = layer.points.shape[1:3]
    places = itertools.product(_coarse(height), _coarse(width))
    for number, (y, x) in enumerate(places):
        colour = _hue(number)
        for k in range(layer.points.shape[3]):
            weight = 1.0 if layer.weights is None else float(layer.weights[i, y, x, k])
            start = _on_screen(layer.regular[y, x, k], factor)
            end = _on_screen(layer.points[i, y, x, k], factor)
            dark = [part // 2 for part in colour]
            cv2.line(picture, start, end, dark, 1, cv2.LINE_AA)
            cv2.circle(picture, end, round(1 + 1.5 * weight), colour, cv2.FILLED, cv2.LINE_AA)
    return picture


def _coarse(size: int) -> list[int]:
    """A few rows or columns of a map, evenly spaced."""
    count = max(1, min(_POSITIONS, size // 4))
    return [int((i + 0.5) * size / count) for i in range(count)]


def _hue(number: int) -> Colour:
    """A colour per position; steps of the golden ratio make neighbours differ."""
    hue = round(180 * (0.618034 * number % 1)) % 180
    (red, green, blue) = cv2.cvtColor(np.array([[[hue, 150, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[
        0, 0
    ].tolist()
    return red, green, blue


def _on_screen(point: FloatArray, factor: int) -> tuple[int, int]:
    """(x, y) in the enlarged frame."""
    y, x = (np.clip((point + 0.5) * factor - 0.5, -(2**14), 2**14)).round().astype(int).tolist()
    return x, y
