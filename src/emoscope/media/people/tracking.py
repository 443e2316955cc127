"""Faces through a video: stable ids, detection now and then, cheap following between."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import lap
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import Detection, Detector, Eyes, Point
from emoscope.media.detectors.whole_frame import WholeFrame
from emoscope.media.people.following import FollowedFace, View, grown

__all__ = ["FaceFinder", "FaceTracker", "LargestFace", "TrackedFace"]

_SEARCH_EVERY_S = 0.2  # while a face is missing or doubtful, or there is none
_WEAK_MATCH = 0.7  # one face over half a second correlates above 0.85

# A detection as sure as this confirms a face; others need a second hit, from another look rather
# than from the next frame at 60 Hz, but soon.
_SURE_SCORE = 0.7
_CONFIRM_AFTER_S, _CONFIRM_WITHIN_S = 0.08, 0.25

_COST_LIMIT = 1.4  # above it a detection does not continue a face: see FollowedFace.cost
_HEAD = 1.25  # width of a head, in sides of a face's box
_ONE_FACE_IOU = 0.4  # above it two boxes are one face's
_ROUNDING_S = 2e-3  # of timestamps, to the stream's clock


@dataclass(frozen=True)
class TrackedFace:
    """One face in one frame: the id it keeps, its box in pixels of the frame, the eyes (left,
    right in the picture) where the detector gives them, the score of its last detection."""

    track: int
    box: Box
    eyes: Eyes | None
    score: float


class FaceFinder(Protocol):
    """What tells the faces of one video, frame after frame."""

    def update(self, rgb: Picture, time_s: float) -> list[TrackedFace]:
        """The faces in the next frame, (H, W, 3) uint8, ordered by track."""
        ...


class LargestFace:
    """Looks at every frame by itself and follows nobody: the largest face is face 0."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def update(self, rgb: Picture, time_s: float) -> list[TrackedFace]:
        """The largest face in a frame, (H, W, 3) uint8, or none."""
        found = self._detector.detect(rgb)
        largest = sorted(found, key=lambda face: -face.box.area)[:1]
        return [TrackedFace(0, face.box, face.eyes, face.score) for face in largest]


@dataclass
class _Track:
    """`id` is None until the face is first reported."""

    face: FollowedFace
    id: int | None = None
    confirmed: bool = False


class FaceTracker:
    """Follows the faces of one video; make a new one for each video.

    Detection runs every `detect_every_s` of video time, at once when a face is lost, and five
    times a second while one is missing or there is none. A face is reported only while it is
    seen; it keeps its id if it reappears within `memory_s` near where it was expected. One that
    is followed but has not been detected for `memory_s` counts as unseen. A cut ends every track
    that does not visibly go on through it. Ids are 0, 1, 2 ... in order of first appearance.

    A face is reported once a detection is sure or two agree, so that a chance hit makes no track;
    those of the first frame are reported at once, for it may be the only one, and dropped if no
    second look confirms them. With WholeFrame as the detector, every frame is face 0.
    """

    def __init__(
        self, detector: Detector, *, detect_every_s: float = 1.0, memory_s: float = 1.5
    ) -> None:
        self._detector = detector
        self._detect_every_s, self._memory_s = detect_every_s, memory_s
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._time_s = self._detected_s = -math.inf
        self._view: View | None = None

    def update(self, rgb: Picture, time_s: float) -> list[TrackedFace]:
        """The faces seen in the next frame, (H, W, 3) uint8, ordered by track.

        `time_s` is the frame's time in the video; it does not fall from call to call."""
        if isinstance(self._detector, WholeFrame):
            (whole,) = self._detector.detect(rgb)
            return [TrackedFace(0, whole.box, whole.eyes, whole.score)]
        view, last_view, last_s = View(rgb), self._view, self._time_s
        self._view, self._time_s = view, time_s
        if last_view is None:
            self._detect(rgb, view)
            self._report(self._tracks)
        else:
            lost = self._follow(view, max(time_s - last_s, 0.0))
            self._tracks = [track for track in self._tracks if not self._is_over(track)]
            if lost or view.is_another_shot(last_view) or self._wants_detection():
                self._detect(rgb, view)
        self._hide()
        self._report(track for track in self._tracks if track.confirmed)
        return [
            TrackedFace(track.id, track.face.box, track.face.eyes, track.face.score)
            for track in sorted(self._tracks, key=lambda t: -1 if t.id is None else t.id)
            if track.id is not None and self._is_sighted(track)
        ]

    def _is_sighted(self, track: _Track) -> bool:
        confirmed = track.confirmed or track.face.detected_s >= self._detected_s
        return confirmed and track.face.seen

    def _follow(self, view: View, elapsed_s: float) -> bool:
        """Move every track to this frame; True where one that was seen is lost."""
        before = [track for track in self._tracks if track.face.seen]
        for track in self._tracks:
            track.face.follow(view, self._time_s, elapsed_s)
        return not all(track.face.seen for track in before)

    def _wants_detection(self) -> bool:
        faces = [track.face for track in self._tracks]
        if not all(track.confirmed for track in self._tracks):
            every_s = _CONFIRM_AFTER_S
        elif not faces or any(not face.seen or face.match < _WEAK_MATCH for face in faces):
            every_s = _SEARCH_EVERY_S
        else:
            every_s = self._detect_every_s
        return self._time_s - self._detected_s >= every_s - _ROUNDING_S

    def _detect(self, rgb: Picture, view: View) -> None:
        """Give each detection to the track it continues, or make a new one of it."""
        self._detected_s = self._time_s
        found = self._detector.detect(rgb)
        for detection, track in zip(found, self._assigned(found, view), strict=True):
            if track is not None:
                crowded = any(_touch(detection.box, d.box) for d in found if d is not detection)
                track.face.take(detection, view, self._time_s, crowded=crowded)
            elif self._is_inside_a_face(detection.box.center):
                continue
            else:
                track = _Track(FollowedFace(detection, view, self._time_s))
                self._tracks.append(track)
            again = self._time_s - track.face.born_s >= _CONFIRM_AFTER_S - _ROUNDING_S
            if again or detection.score >= _SURE_SCORE:
                track.confirmed = True

    def _report(self, tracks: Iterable[_Track]) -> None:
        """Give the next ids to those that have none yet."""
        for track in tracks:
            if track.id is None:
                track.id = self._next_id
                self._next_id += 1

    def _assigned(self, found: list[Detection], view: View) -> list[_Track | None]:
        """The track that each detection continues: the assignment that costs least in all."""
        if not found or not self._tracks:
            return [None] * len(found)
        costs = [[t.face.cost(d, view, self._time_s) for t in self._tracks] for d in found]
        _, chosen, _ = lap.lapjv(np.array(costs), extend_cost=True, cost_limit=_COST_LIMIT)
        return [self._tracks[i] if i >= 0 else None for i in chosen.tolist()]

    def _is_inside_a_face(self, point: Point) -> bool:
        """A hit there is a part of a face that this detection missed as a whole."""
        boxes = [track.face.box for track in self._tracks if track.face.seen]
        return any(b.x1 < point[0] < b.x2 and b.y1 < point[1] < b.y2 for b in boxes)

    def _hide(self) -> None:
        """Take out of sight what was not detected for long, and what is behind another face."""
        front: list[FollowedFace] = []
        faces = [track.face for track in self._tracks if track.face.seen]
        for face in sorted(faces, key=lambda f: (f.detected_s, f.match), reverse=True):
            stale = self._time_s - face.detected_s > self._memory_s
            behind = any(face.box.iou(other.box) > _ONE_FACE_IOU for other in front)
            if stale or behind:
                face.hide()
            else:
                front.append(face)

    def _is_over(self, track: _Track) -> bool:
        """Whether a face is long gone, or was a chance hit."""
        if not track.confirmed:
            return self._time_s - track.face.detected_s > _CONFIRM_WITHIN_S
        return self._time_s - track.face.seen_s > self._memory_s


def _touch(one: Box, other: Box) -> bool:
    """Whether two heads do: the boxes end at the brows and cheeks."""
    return grown(one, _HEAD).iou(grown(other, _HEAD)) > 0
