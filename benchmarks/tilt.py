"""How often each detector, with its tracker, finds a head that is tilted.

    python benchmarks/tilt.py [--yunet MODEL.onnx] [--clips FOLDER]

Every clip is turned clockwise by some degrees. Of the frames at 10 Hz in which the reference (YuNet
if its model is given, else haar) finds a face before the turn, the share in which the tracker
reports a face there; behind it, the faces reported elsewhere.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from faces import detectors
from measuring import table

from emoscope.core.arrays import Picture
from emoscope.media.detectors.base import Detection, Detector
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.video import read_frames

ROOT = Path(__file__).parents[1]
SHARED = ROOT / ".." / "shared"
YUNET = SHARED / "models" / "face_detection_yunet_2026may.onnx"
DEGREES = (0, 10, 25, 40, 60, 90, 180)

Film = Sequence[tuple[float, Picture, list[Detection]]]  # time, frame, faces of the reference


def share(films: Sequence[Film], detector: Detector, degrees: float) -> str:
    seen = found = elsewhere = 0
    for film in films:
        tracker = FaceTracker(detector)
        for time_s, rgb, truth in film:
            height, width = rgb.shape[:2]
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
            faces = tracker.update(cv2.warpAffine(rgb, turn, (width, height)), time_s)  # type: ignore[arg-type]
            hits: set[int] = set()
            for face in truth:
                x, y = turn @ (*face.box.center, 1.0)
                if not (0 <= x < width and 0 <= y < height):
                    continue  # turned out of the picture
                boxes = {f.track: f.box for f in faces}
                here = {t for t, b in boxes.items() if b.x1 < x < b.x2 and b.y1 < y < b.y2}
                seen, found, hits = seen + 1, found + bool(here), hits | here
            elsewhere += len(faces) - len(hits)
    return f"{100 * found / max(seen, 1):.0f} %, {elsewhere}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yunet", type=Path, default=YUNET if YUNET.is_file() else None)
    parser.add_argument("--clips", type=Path, default=SHARED / "clips")
    args = parser.parse_args()
    choices = detectors(args.yunet)
    reference = choices.get("yunet", choices["haar"])
    clips = [p for p in sorted(args.clips.glob("*")) if p.suffix in {".mp4", ".mov"}]
    films = [
        [(frame.time_s, frame.rgb, reference.detect(frame.rgb)) for frame in frames]
        for frames in (
            read_frames(path, rate_hz=10) for path in (ROOT / "examples" / "portrait.mp4", *clips)
        )
    ]
    rows = [
        [name, *(share(films, detector, degrees) for degrees in DEGREES)]
        for name, detector in choices.items()
    ]
    print(table(["detector", *(f"{degrees}°" for degrees in DEGREES)], rows))
    frames, faces = np.sum([[len(film), sum(len(f[2]) for f in film)] for film in films], axis=0)
    print(f"\n{len(films)} clips, {frames} frames, {faces} faces; OpenCV {cv2.__version__}.")


if __name__ == "__main__":
    main()
