"""What a network looks at as pictures: on sheets of all frames, and as films."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from emoscope.core.errors import MediaError
from emoscope.media.files import replacing
from emoscope.media.video import Frame
from emoscope.media.writer import write_video
from emoscope.training.explain import Explanation
from emoscope.training.sampling_points import SamplingPoints

__all__ = ["heat_film", "heat_sheet", "points_film", "points_sheet", "write_explanation"]

Picture = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating]
Colour = tuple[int, int, int]

_LEAST_PX = 224  # height of a frame on the sheets
_STRIP_PX, _LINE_PX, _EDGE_PX = 20, 24, 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DARK: Colour = (22, 26, 30)
_LIGHT: Colour = (235, 235, 235)
_OPAQUE = 0.85  # of the heat where it is strongest
_POSITIONS = 5  # a side, whose sampling points are drawn; all would cover the picture
_IN_ONE_ROW = 6  # frames
_LONGEST_S = 1.0  # that a film's last frame is shown


def write_explanation(explanation: Explanation, folder: Path, name: str) -> list[Path]:
    """NAME-gradcam.png and .mp4, and NAME-offsets.png and .mp4 where there are deformable steps; of
    a network of single pictures no films. -> what was written. Raises MediaError."""
    pictures = {"gradcam": heat_sheet(explanation)}
    films = {"gradcam": heat_film(explanation)}
    if explanation.sampling:
        pictures["offsets"] = points_sheet(explanation)
        films["offsets"] = points_film(explanation)
    written = []
    for kind, picture in pictures.items():
        written.append(folder / f"{name}-{kind}.png")
        _write_png(written[-1], picture)
        if len(explanation.frames) > 1:
            written.append(folder / f"{name}-{kind}.mp4")
            write_video(written[-1], films[kind], start_s=explanation.times_s[0])
    return written


def heat_sheet(explanation: Explanation) -> Picture:
    """(H, W, 3): every frame with its map, and what the maps are of."""
    pairs = zip(explanation.frames, explanation.gradcam.maps, strict=True)
    tiles = [
        _titled(_heated(frame, heat), f"{time_s:.2f} s")
        for (frame, heat), time_s in zip(pairs, explanation.times_s, strict=True)
    ]
    return _captioned(
        _rows(tiles, _columns(len(tiles))), _answer(explanation), _source(explanation), heat=True
    )


def heat_film(explanation: Explanation) -> Iterator[Frame]:
    """The frames at their times, plain on the left, with their maps on the right."""
    pictures = (
        np.hstack([_enlarged(frame), _heated(frame, heat)])
        for frame, heat in zip(explanation.frames, explanation.gradcam.maps, strict=True)
    )
    captions = [(_answer(explanation), _source(explanation))] * len(explanation.frames)
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
            tiles.append(_titled(_pointed(explanation.frames[first], layer, i), title))
        rows.append(_rows(tiles, columns))
    lines = [_offsets(layer) for layer in explanation.sampling]
    about = "A colour a position; lines come from where an ordinary convolution would sample"
    return _captioned(np.vstack(rows), "Where deformable steps sample", about, *lines)


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


def _answer(explanation: Explanation) -> str:
    found = explanation.gradcam
    nothing = "" if found.maps.any() else ": nothing at this layer speaks for it"
    return f"{found.label} {found.probability:.0%}{nothing}"


def _source(explanation: Explanation) -> str:
    found, frames = explanation.gradcam, len(explanation.frames)
    maps = "one map" if found.steps == 1 else f"{found.steps} maps"
    shown = "one frame" if frames == 1 else f"{frames} frames"
    return f"Grad-CAM, {found.layer}: {maps} of {shown}"


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
    least_px = max(map(_width, texts))
    for i, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        if i and times_s[i] <= times_s[i - 1]:
            continue
        later = next((end_s for end_s in ends_s[i:] if end_s > times_s[i]), times_s[i] + last_s)
        captioned = _captioned(picture, *lines, heat=heat, least_px=least_px)
        yield Frame(captioned, times_s[i], i, later - times_s[i])


def _write_png(path: Path, picture: Picture) -> None:
    with replacing(path) as part:
        if not cv2.imwrite(str(part), picture[:, :, ::-1]):
            raise MediaError(f"{path}: cannot be written. Choose another folder.")


def _factor(height: int) -> int:
    """Whole, so that pixels stay where they are."""
    return math.ceil(_LEAST_PX / height)


def _enlarged(frame: Picture) -> Picture:
    height, width = frame.shape[:2]
    by = _factor(height)
    size = (by * width, by * height)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _heated(frame: Picture, heat: FloatArray) -> Picture:
    """The stronger the heat, the more of its colour; where there is none the frame is as it is."""
    large = _enlarged(frame)
    height, width = large.shape[:2]
    scaled = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    share = _OPAQUE * scaled[..., None]
    mixed = (1 - share) * large + share * _coloured(scaled)
    return mixed.round().astype(np.uint8)


def _coloured(heat: npt.NDArray[Any]) -> Picture:
    scaled = (255 * heat).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[..., ::-1], dtype=np.uint8)


def _dimmed(frame: Picture) -> Picture:
    return (0.55 * _enlarged(frame)).astype(np.uint8)


def _pointed(frame: Picture, layer: SamplingPoints, i: int) -> Picture:
    """The points of a coarse grid of positions, a colour a position, and how far each was moved.
    The more a sample weighs, the larger its point."""
    picture = _dimmed(frame)
    by = _factor(frame.shape[0])
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


def _columns(tiles: int) -> int:
    """Of a sheet that is wider than high, with the fewest gaps."""
    if tiles <= _IN_ONE_ROW:
        return tiles
    narrowest, widest = math.ceil(math.sqrt(tiles)), math.ceil(math.sqrt(3 * tiles))
    return min(range(narrowest, widest + 1), key=lambda columns: -tiles % columns)


def _rows(tiles: Sequence[Picture], columns: int) -> Picture:
    """Tiles of one size, in reading order."""
    blank = np.full_like(tiles[0], _DARK)
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    return np.vstack(rows)


def _titled(picture: Picture, title: str) -> Picture:
    """The picture with a line above it."""
    strip = np.full((_STRIP_PX, picture.shape[1], 3), _DARK, dtype=np.uint8)
    _put(strip, title, (4, _STRIP_PX - 6), 0.42)
    return np.vstack([strip, picture])


def _captioned(picture: Picture, *lines: str, heat: bool = False, least_px: int = 0) -> Picture:
    """The picture with lines below it, the first the larger one, and the scale of the heat."""
    height = picture.shape[0] + _LINE_PX * (len(lines) + heat) + 2 * _EDGE_PX
    width = max(picture.shape[1], _width(lines), least_px)
    canvas = np.full((height, width, 3), _DARK, dtype=np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    top = picture.shape[0] + _EDGE_PX
    for i, line in enumerate(lines):
        _put(canvas, line, (_EDGE_PX, top + i * _LINE_PX + 17), _scale(i))
    if heat:
        _put_scale(canvas, top + len(lines) * _LINE_PX)
    return canvas


def _width(lines: Sequence[str]) -> int:
    """Of a caption, px."""
    sizes = (cv2.getTextSize(line, _FONT, _scale(i), 1) for i, line in enumerate(lines))
    return max(int(wide) for (wide, _), _ in sizes) + 2 * _EDGE_PX


def _scale(line: int) -> float:
    """Of a caption's letters."""
    return 0.6 if line == 0 else 0.46


def _put_scale(canvas: Picture, top: int) -> None:
    """From nothing to the clip's strongest place."""
    for text, x in (("none", _EDGE_PX), ("strongest of the clip", _EDGE_PX + 165)):
        _put(canvas, text, (x, top + 16), 0.42)
    ramp = np.tile(np.linspace(0, 1, 110, dtype=np.float32), (12, 1))
    share = _OPAQUE * ramp[..., None]
    grey = np.full((*ramp.shape, 3), 128.0)
    left = _EDGE_PX + 45
    canvas[top + 6 : top + 18, left : left + 110] = (1 - share) * grey + share * _coloured(ramp)


def _put(picture: Picture, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, at, _FONT, scale, _LIGHT, 1, cv2.LINE_AA)
