"""What a network looks at as pictures: on sheets of all frames, and as films."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import FloatArray, Picture
from emoscope.media.video import Frame
from emoscope.media.writer import write_video
from emoscope.training.explain.attribution import Explanation, HeatMaps
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

_POSITIONS = 5  # a side, whose sampling points are drawn; all would cover the picture
_LONGEST_S = 1.0  # that a film's last frame is shown


def write_explanation(explanation: Explanation, folder: Path, name: str) -> list[Path]:
    """NAME-gradcam.png and .mp4 where there is a Grad-CAM, NAME-saliency.png and .mp4, and
    NAME-offsets.png and .mp4 where there are deformable steps; of a network of single pictures no
    films. -> what was written. Raises MediaError."""
    drawn = {
        kind: (heat_sheet(explanation, heats), heat_film(explanation, heats))
        for kind, heats in (("gradcam", explanation.gradcam), ("saliency", explanation.saliency))
        if heats
    }
    if explanation.sampling:
        drawn["offsets"] = points_sheet(explanation), points_film(explanation)
    written = []
    for kind, (picture, film) in drawn.items():
        written.append(folder / f"{name}-{kind}.png")
        write_png(written[-1], picture)
        if len(explanation.frames) > 1:
            written.append(folder / f"{name}-{kind}.mp4")
            write_video(written[-1], film, start_s=explanation.times_s[0])
    return written


def heat_sheet(explanation: Explanation, heats: Sequence[HeatMaps]) -> Picture:
    """(H, W, 3): every frame with its map, and what the maps are of; each stream in rows of
    its own. A dynamic image is one picture: its map is drawn once, on the middle frame."""
    strips = [_heat_tiles(explanation, heat, several=len(heats) > 1) for heat in heats]
    alone = [tile for tiles in strips if len(tiles) == 1 for tile in tiles]
    strips = [tiles for tiles in [*(s for s in strips if len(s) > 1), alone] if tiles]
    columns = columns_for(max(map(len, strips)))
    rows = [in_rows(tiles, columns) for tiles in strips]
    return captioned(np.vstack(rows), *_heat_caption(explanation, heats), heat=True)


def heat_film(explanation: Explanation, heats: Sequence[HeatMaps]) -> Iterator[Frame]:
    """The frames at their times, plain on the left, with their maps on the right, a stream beside
    the other."""
    pictures = (
        np.hstack([enlarged(frame), *(heated(frame, heat.maps[t]) for heat in heats)])
        for t, frame in enumerate(explanation.frames)
    )
    captions = [_heat_caption(explanation, heats)] * len(explanation.frames)
    return _film(explanation, pictures, captions, heat=True)


def points_sheet(explanation: Explanation) -> Picture:
    """(H, W, 3): a row a layer, of the first frame of each deformable step."""
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
    about = "A colour a position; lines come from where an ordinary convolution would sample"
    return captioned(np.vstack(rows), "Where deformable steps sample", about, *lines)


def points_film(explanation: Explanation) -> Iterator[Frame]:
    """The frames at their times, once for each layer side by side; plain where the step that covers
    a frame is."""
    layers = explanation.sampling
    pictures, captions = [], []
    for t, frame in enumerate(explanation.frames):
        at = [next((i for i, one in enumerate(x.frames) if t in one), None) for x in layers]
        drawn = [
            _dimmed(frame) if i is None else _pointed(frame, layer, i)
            for layer, i in zip(layers, at, strict=True)
        ]
        said = [
            f"{layer.layer}: {'not deformable' if i is None else f'step {layer.steps[i]}'}"
            for layer, i in zip(layers, at, strict=True)
        ]
        pictures.append(np.hstack(drawn))
        captions.append((", ".join(said),))
    return _film(explanation, pictures, captions)


def _heat_tiles(explanation: Explanation, heat: HeatMaps, several: bool) -> list[Picture]:
    frames, times_s = explanation.frames, explanation.times_s
    stream = f"{heat.stream}, " if several else ""
    if heat.stream.startswith("dynamic_") and len(frames) > 1:
        middle = len(frames) // 2
        return [titled(heated(frames[middle], heat.maps[middle]), f"{heat.stream}, whole clip")]
    return [
        titled(heated(frame, of_frame), f"{stream}{time_s:.2f} s")
        for frame, of_frame, time_s in zip(frames, heat.maps, times_s, strict=True)
    ]


def _heat_caption(explanation: Explanation, heats: Sequence[HeatMaps]) -> tuple[str, ...]:
    """The answer, and a line for each stream."""
    frames = len(explanation.frames)
    shown = "one frame" if frames == 1 else f"{frames} frames"
    lines = [f"{explanation.label} {explanation.probability:.0%}"]
    for heat in heats:
        stream = f"{heat.stream}: " if len(heats) > 1 else ""
        maps = "one map" if heat.steps == 1 else f"{heat.steps} maps"
        nothing = "" if heat.maps.any() else "; nothing there speaks for it"
        lines.append(f"{stream}{heat.method}, {heat.layer}: {maps} of {shown}{nothing}")
    return tuple(lines)


def _offsets(layer: SamplingPoints) -> str:
    moved = layer.offsets_px
    return (
        f"{layer.layer}: {len(layer.steps)} steps, offsets {moved.mean():.2f} px, at most "
        f"{moved.max():.2f} px of the frame shown to the network"
    )


def _film(
    explanation: Explanation,
    pictures: Iterable[Picture],
    captions: Sequence[tuple[str, ...]],
    heat: bool = False,
) -> Iterator[Frame]:
    """Frames with a caption, each until the next; what padding repeats is shown once."""
    times_s = explanation.times_s
    span_s = times_s[-1] - times_s[0]
    last_s = min(_LONGEST_S, span_s / (len(times_s) - 1)) if span_s else _LONGEST_S
    ends_s = [*times_s[1:], times_s[-1] + last_s]
    texts = [
        (f"{first}, {at:.2f} s", *rest)
        for (first, *rest), at in zip(captions, times_s, strict=True)
    ]
    least_px = max(map(width_of, texts))
    for i, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        if i and times_s[i] <= times_s[i - 1]:
            continue
        later = next((end_s for end_s in ends_s[i:] if end_s > times_s[i]), times_s[i] + last_s)
        whole = captioned(picture, *lines, heat=heat, least_px=least_px)
        yield Frame(whole, times_s[i], i, later - times_s[i])


def _dimmed(frame: Picture) -> Picture:
    return (0.55 * enlarged(frame)).astype(np.uint8)


def _pointed(frame: Picture, layer: SamplingPoints, i: int) -> Picture:
    """The points of a coarse grid of positions, a colour a position, and how far each was moved.
    The more a sample weighs, the larger its point."""
    picture = _dimmed(frame)
    by = zoom(frame.shape[0])
    height, width = layer.points.shape[1:3]
    places = itertools.product(_coarse(height), _coarse(width))
    for number, (y, x) in enumerate(places):
        colour = _hue(number)
        for k in range(layer.points.shape[3]):
            weight = 1.0 if layer.weights is None else float(layer.weights[i, y, x, k])
            start = _on_screen(layer.regular[y, x, k], by)
            end = _on_screen(layer.points[i, y, x, k], by)
            cv2.line(picture, start, end, _dull(colour), 1, cv2.LINE_AA)
            cv2.circle(picture, end, round(1 + 1.5 * weight), colour, cv2.FILLED, cv2.LINE_AA)
    return picture


def _coarse(size: int) -> list[int]:
    """A few of a map's rows or columns, evenly spread."""
    count = max(1, min(_POSITIONS, size // 4))
    return [int((i + 0.5) * size / count) for i in range(count)]


def _hue(number: int) -> Colour:
    """Neighbours differ: steps of the golden ratio around the wheel."""
    hue = round(180 * (0.618034 * number % 1)) % 180
    (red, green, blue) = cv2.cvtColor(np.array([[[hue, 150, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[
        0, 0
    ].tolist()
    return red, green, blue


def _dull(colour: Colour) -> Colour:
    red, green, blue = (part // 2 for part in colour)
    return red, green, blue


def _on_screen(point: FloatArray, by: int) -> tuple[int, int]:
    """(x, y) of an enlarged frame; pixels keep their centres."""
    y, x = (np.clip((point + 0.5) * by - 0.5, -(2**14), 2**14)).round().astype(int).tolist()
    return x, y
