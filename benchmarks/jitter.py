"""How a detector's boxes shake: on FER+ stills moved by parts of a pixel, and on real films.

    python benchmarks/jitter.py [--ferplus DIR] [--part holdout|valid] [--yunet MODEL.onnx]
                                [--clips FOLDER]

In sides of the box. On films: noise from frame to frame, read off second differences, of which
steady motion has none; and how far the box that the analyzer follows at 10 Hz is from the
detector's in the same frame.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measuring import machine, table, unpacked
from stills import (
    CLIPS,
    ENLARGED,
    YUNET,
    Still,
    detectors,
    face_on,
    films,
    on_canvas,
    range_of,
    read_stills,
    roll_deg,
)

from emoscope.core.results import Box
from emoscope.media.detectors.base import Detector
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.video import read_frames

SHIFTED, SHIFTS = 40, 6  # stills, and how often each is moved by less than one of its pixels
SECONDS = 8.0  # of a film

FloatArray = npt.NDArray[np.floating]


def spread_of(boxes: Sequence[Box], motion: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Errors of boxes that should have moved by `motion` (N, 2): (N, 2) of the centre, in sides,
    and (N,) of the side's logarithm, each about its median."""
    side = np.array([box.width for box in boxes])
    center = (np.array([box.center for box in boxes]) - motion) / np.median(side)
    return center - np.median(center, axis=0), np.log(side / np.median(side))


def still_jitter(stills: Sequence[Still], detector: Detector) -> tuple[FloatArray, FloatArray]:
    """Jitter of the detected box when a still is moved by less than a pixel."""
    rng = np.random.default_rng(0)
    centers: list[FloatArray] = [np.empty((0, 2))]
    sides: list[FloatArray] = [np.empty(0)]
    for still in stills[:SHIFTED]:
        moves = rng.uniform(-0.5, 0.5, (SHIFTS, 2))
        faces = [face_on(on_canvas(still.picture, (x, y)), detector) for x, y in moves.tolist()]
        seen = [i for i, face in enumerate(faces) if face is not None]
        if len(seen) > 2:
            boxes = [face.box for face in faces if face is not None]
            center, side = spread_of(boxes, moves[seen] * ENLARGED)
            centers.append(center)
            sides.append(side)
    return np.concatenate(centers), np.concatenate(sides)


@dataclass(frozen=True, eq=False)
class FilmJitter:
    """Jitter of the largest face of a video, in units of the box's side.

    Noise from frame to frame is measured by second differences, which are zero for steady motion.
    The lag is the distance of the tracker's box at 10 Hz from the detector's in the same frame."""

    noise: FloatArray  # (N, 3): centre, and the side's logarithm
    behind: FloatArray  # (M, 3)
    rolls: FloatArray


def film_jitter(path: Path, detector: Detector) -> FilmJitter:
    """Measure the jitter in the first seconds of a video."""
    tracker, next_s = FaceTracker(detector), 0.0
    runs: list[list[tuple[float, float, float]]] = [[]]
    behind, faces = [], []
    for frame in read_frames(path, end_s=SECONDS, max_side=1280):
        found = sorted(detector.detect(frame.rgb), key=lambda face: -face.box.area)[:1]
        for face in found:
            faces.append(face)
            runs[-1].append((*face.box.center, face.box.width))
        if not found and runs[-1]:
            runs.append([])
        if frame.time_s >= next_s - 1e-3:
            next_s += 0.1
            for followed in tracker.update(frame.rgb, frame.time_s):
                if found and followed.box.iou(found[0].box) > 0.4:
                    away = np.subtract(followed.box.center, found[0].box.center)
                    size = followed.box.width / found[0].box.width
                    behind.append((*(away / found[0].box.width), math.log(size)))
    noise = [second_differences(np.array(run)) for run in runs if len(run) > 2]
    return FilmJitter(
        np.concatenate([np.empty((0, 3)), *noise]), np.array(behind).reshape(-1, 3), roll_deg(faces)
    )


def second_differences(boxes: FloatArray) -> FloatArray:
    """(N, 3) x, y, side -> (N - 2, 3), scaled to the error of one box if errors are independent."""
    side = np.median(boxes[:, 2])
    values = np.column_stack([boxes[:, :2] / side, np.log(boxes[:, 2])])
    return np.diff(values, n=2, axis=0) / math.sqrt(6)


def deviations(center: FloatArray, side: FloatArray) -> str:
    """Typical (from the median, free of outliers) and 95th percentile, centre then side."""
    if len(side) == 0:
        return ""
    off = np.abs(center).max(axis=1)
    parts = (f"{np.median(v):.1%}, {np.percentile(v, 95):.1%}" for v in (off, np.abs(side)))
    return "; ".join(parts)


def jitter_table(
    stills: Sequence[Still], found: dict[str, Detector], clips: Sequence[Path]
) -> None:
    """How much boxes shake."""
    rows = []
    for name, detector in found.items():
        films = {clip.stem: film_jitter(clip, detector) for clip in clips}
        cells = [deviations(*still_jitter(stills, detector))]
        for film in films.values():
            cells.append(deviations(film.noise[:, :2], film.noise[:, 2]))
            cells.append(deviations(film.behind[:, :2], film.behind[:, 2]))
        rolls = np.concatenate([np.empty(0), *(film.rolls for film in films.values())])
        rows.append([name, *cells, range_of(rolls, "+.1f")])
    header = ["detector", "still, moved by half a pixel"]
    for clip in clips:
        header += [f"{clip.stem}, frame to frame", "tracker against detector"]
    print(
        "How boxes shake: the centre's larger error, then the side's, median and 95th percentile\n"
    )
    print(table([*header, "roll, degrees"], rows), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--ferplus", type=Path)
    parser.add_argument("--part", choices=("holdout", "valid"), default="holdout")
    parser.add_argument("--yunet", type=Path, default=YUNET)
    parser.add_argument("--clips", type=Path, default=CLIPS)
    args = parser.parse_args()
    stills = read_stills(args.ferplus or unpacked("ferplus"), args.part, SHIFTED)
    jitter_table(stills, detectors(args.yunet), films(args.clips))
    print(f"{SHIFTED} stills of FER+'s {args.part} part. {machine()}.")


if __name__ == "__main__":
    main()
