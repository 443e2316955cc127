"""Cost of detecting and tracking faces, and how often each detector finds one.

    python benchmarks/faces.py [--yunet MODEL.onnx] [--repeats 40] [--clips FOLDER]

Cost: processor milliseconds a picture (all threads together), on frames of a film with one face;
of tracking, a frame updated at 10 Hz. Found: the part of a clip's frames in which the detector
finds a face where the reference does (YuNet if its model is given, else haar), the chance hits
beside it, and the part that the tracker covers at 10 Hz.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
from measuring import face_film, machine, spread, table

from emoscope.core.arrays import Picture
from emoscope.core.errors import EmoscopeError
from emoscope.media.detectors import create_detector
from emoscope.media.detectors.base import Detection, Detector
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.video import read_frames

CLIPS = Path(__file__).parents[1] / ".." / "shared" / "clips"
SIZES = ((640, 480), (1280, 720))


def detectors(yunet: Path | None) -> dict[str, Detector]:
    """Those that can be had here, by name."""
    choices = ["haar", "lbp"] + ([f"yunet={yunet}"] if yunet else [])
    made: dict[str, Detector] = {}
    for choice in choices:
        try:
            made[choice.partition("=")[0]] = create_detector(choice)
        except EmoscopeError as error:
            print(f"without {choice}: {error}")
    return made


def detection_cost(detector: Detector, pictures: Sequence[Picture], repeats: int) -> str:
    detector.detect(pictures[0])  # warm up
    costs = []
    for i in range(repeats):
        start = time.process_time()
        detector.detect(pictures[i % len(pictures)])
        costs.append(1000 * (time.process_time() - start))
    return spread(costs, ".1f")


def tracking_cost(detector: Detector, frames: Sequence[Picture], repeats: int) -> str:
    """Mean cost of a frame, over runs through all frames, 0.1 s apart."""
    means = []
    for _ in range(max(repeats // 10, 3)):
        tracker = FaceTracker(detector)
        start = time.process_time()
        for i, rgb in enumerate(frames):
            tracker.update(rgb, i / 10)
        means.append(1000 * (time.process_time() - start) / len(frames))
    return spread(means)


def agree(found: Sequence[Detection], truth: Sequence[Detection]) -> int:
    return sum(any(face.box.iou(true.box) > 0.4 for true in truth) for face in found)


def coverage(clip: Path, detector: Detector, reference: Detector) -> str:
    """Share of the frames with a face in which it is found; chance hits; share tracked."""
    frames = found = chance = updated = tracked = 0
    tracks: set[int] = set()
    tracker, next_s = FaceTracker(detector), 0.0
    for frame in read_frames(clip):
        truth = reference.detect(frame.rgb)
        faces = detector.detect(frame.rgb)
        frames += bool(truth)
        found += bool(truth) and agree(faces, truth) > 0
        chance += len(faces) - agree(faces, truth)
        if frame.time_s >= next_s - 1e-3:
            next_s += 0.1
            followed = tracker.update(frame.rgb, frame.time_s)
            updated += bool(truth)
            tracked += bool(truth) and bool(followed)
            tracks |= {face.track for face in followed}
    return (
        f"{100 * found / max(frames, 1):.0f} % of {frames}, {chance} chance hits; "
        f"tracked {100 * tracked / max(updated, 1):.0f} %, {len(tracks)} id(s)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yunet", type=Path)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--clips", type=Path, default=CLIPS)
    args = parser.parse_args()
    found = detectors(args.yunet)
    film = [frame.rgb for frame in read_frames(face_film(), rate_hz=10, end_s=6.0)]
    pictures = {size: [cv2.resize(rgb, size) for rgb in film[::6]] for size in SIZES}
    rows = [
        [name]
        + [detection_cost(detector, pictures[size], args.repeats) for size in SIZES]  # type: ignore[arg-type]
        + [tracking_cost(detector, film, args.repeats)]
        for name, detector in found.items()
    ]
    sizes = [f"detect {width}x{height}" for width, height in SIZES]
    print("CPU-ms, median (minimum to maximum)\n")
    print(table(["detector", *sizes, "track 1280x720 at 10 Hz"], rows))
    print(f"\n{machine()}, OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads\n")
    clips = sorted(path for path in args.clips.glob("*") if path.suffix in {".mp4", ".mov"})
    if clips:
        reference = found.get("yunet", found["haar"])
        print(
            table(
                ["clip", *found],
                [
                    [
                        clip.stem,
                        *(coverage(clip, detector, reference) for detector in found.values()),
                    ]
                    for clip in clips
                ],
            )
        )


if __name__ == "__main__":
    main()
