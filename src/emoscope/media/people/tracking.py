"""Track faces through a video: stable ids, a detection now and then, following in between."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import lap
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import Detection, Detector, Eyes
from emoscope.media.detectors.cascades import CascadeDetector
from emoscope.media.detectors.whole_frame import WholeFrame
from emoscope.media.people.following import FollowedFace, View, grown

__all__ = ["FaceFinder", "FaceTracker", "LargestFace", "TrackedFace"]

_SEARCH_EVERY_S = 0.2  # while there is no face, or one is lost or matches poorly
_POOR_MATCH = 0.7  # one face over half a second correlates above 0.85

# A detection with this score confirms a face. Others need a second detection, soon, but not in the
# next frame of a 60 Hz video, which would show the same.
_SURE_SCORE = 0.7
_CONFIRM_AFTER_S, _CONFIRM_WITHIN_S = 0.08, 0.25

# Where a cascade misses a face, it searches for heads tilted to one side by so many degrees, and to
# the other side next time; at most this often unless a tilted head is tracked. It then finds heads
# tilted by 15 to 45 degrees. False positives are more frequent than in upright pictures, so more
# windows must agree on a face that is not tracked yet: 4, and 6 in the first picture.
_TILT, _TILT_EVERY_S = 30.0, 0.4
_MIN_SCORE_TILTED, _SURE_SCORE_TILTED = 0.66, 0.74

_COST_LIMIT = 1.4  # a detection of higher cost does not continue a face: see FollowedFace.cost
_HEAD = 1.25  # width of a head, in sides of a face's box
_SAME_FACE_IOU = 0.4  # boxes that overlap more show one face
_ROUNDING_S = 2e-3  # of timestamps, to the stream's clock


@dataclass(frozen=True)
class TrackedFace:
    """One face in one frame.

    track   its id
    box     in pixels of the frame
    eyes    left and right in the picture, where the detector locates them
    score   of its last detection
    roll    degrees by which the head was tilted clockwise then, 0 unless the picture was turned
    """

    track: int
    box: Box
    eyes: Eyes | None
    score: float
    roll: float = 0.0


class FaceFinder(Protocol):
    """Finds the faces of one video, frame after frame."""

    def update(self, rgb: Picture, time_s: float) -> list[TrackedFace]:
        """The faces in the next frame, (H, W, 3) uint8, ordered by track."""
        ...


class LargestFace:
    """Detects in every frame independently; the largest face is track 0."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def update(self, rgb: Picture, time_s: float) -> list[TrackedFace]:
        """The largest face in a frame, (H, W, 3) uint8, if there is one."""
        detections = self._detector.detect(rgb)
        largest = sorted(detections, key=lambda face: -face.box.area)[:1]
        return [TrackedFace(0, face.box, face.eyes, face.score) for face in largest]


@dataclass
class _Track:
    """A followed face; `id` is None until the face is first reported."""

    face: FollowedFace
    id: int | None = None
    confirmed: bool = False


class FaceTracker:
    """Tracks the faces of one video. Create one tracker for each video.

    detect_every_s   interval between detections, in video time. The detector also runs as soon as
                     a face is lost, and five times a second while there is no face or one is lost
    memory_s         a face that reappears within this time, near where it was expected, keeps its
                     id. One that is followed for this time without a detection is dropped

    Only visible faces are reported. A cut ends every track that does not visibly continue through
    it. Ids are 0, 1, 2 ... in order of first appearance.

    Where a CascadeDetector misses a tracked face or finds none at all, heads that are tilted by
    about 30 degrees are searched for too.

    A face is reported once one detection has a high score or two detections agree, so that false
    positives make no track. The faces of the first frame are reported at once, since it may be the
    only frame, and dropped if no second detection confirms them. With a WholeFrame detector, every
    frame is track 0.
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
        self._tilt, self._tilted_s = _TILT, -math.inf

    def update(self, rgb: Picture, time_s: float) -> list[TrackedFace]:
        """The faces visible in the next frame, (H, W, 3) uint8, ordered by track.

        `time_s` is the frame's time in the video and never decreases."""
        if isinstance(self._detector, WholeFrame):
            (whole,) = self._detector.detect(rgb)
            return [TrackedFace(0, whole.box, whole.eyes, whole.score)]
        view, last_view, last_s = View(rgb), self._view, self._time_s
        self._view, self._time_s = view, time_s
        if last_view is None:
            self._detect(rgb, view)
            self._assign_ids(self._tracks)
        else:
            lost = self._follow(view, max(time_s - last_s, 0.0))
            self._tracks = [track for track in self._tracks if not self._is_over(track)]
            if lost or view.is_another_shot(last_view) or self._is_detection_due():
                self._detect(rgb, view)
        self._hide_stale_and_covered()
        self._assign_ids(track for track in self._tracks if track.confirmed)
        return [
            TrackedFace(
                track.id, track.face.box, track.face.eyes, track.face.score, track.face.roll
            )
            for track in sorted(self._tracks, key=lambda t: -1 if t.id is None else t.id)
            if track.id is not None
            and track.face.seen
            and (track.confirmed or track.face.detected_s >= self._detected_s)
        ]

    def _follow(self, view: View, elapsed_s: float) -> bool:
        """Move every track to this frame. Return whether a visible face was lost."""
        visible = [track for track in self._tracks if track.face.seen]
        for track in self._tracks:
            track.face.follow(view, self._time_s, elapsed_s)
        return not all(track.face.seen for track in visible)

    def _is_over(self, track: _Track) -> bool:
        """Whether a face disappeared long ago, or was never confirmed."""
        if not track.confirmed:
            return self._time_s - track.face.detected_s > _CONFIRM_WITHIN_S
        return self._time_s - track.face.seen_s > self._memory_s

    def _is_detection_due(self) -> bool:
        faces = [track.face for track in self._tracks]
        if not all(track.confirmed for track in self._tracks):
            every_s = _CONFIRM_AFTER_S
        elif not faces or any(not face.seen or face.match < _POOR_MATCH for face in faces):
            every_s = _SEARCH_EVERY_S
        else:
            every_s = self._detect_every_s
        return self._time_s - self._detected_s >= every_s - _ROUNDING_S

    def _detect(self, rgb: Picture, view: View) -> None:
        """Assign each detection to the track that it continues, or start a track with it."""
        is_first, self._detected_s = math.isinf(self._detected_s), self._time_s
        detector = self._detector
        detections = detector.detect(rgb)
        matched = self._matched(detections, view)
        has_missed = not detections or any(track not in matched for track in self._tracks)
        if has_missed and isinstance(detector, CascadeDetector) and self._is_tilt_due():
            detections += self._tilted(detector, rgb, view, detections, is_first)
            matched = self._matched(detections, view)
        for detection, track in zip(detections, matched, strict=True):
            if track is not None:
                others = (d for d in detections if d is not detection)
                crowded = any(_heads_touch(detection.box, other.box) for other in others)
                track.face.detect(detection, view, self._time_s, crowded=crowded)
            elif self._is_inside_a_face(detection):
                continue
            else:
                track = _Track(FollowedFace(detection, view, self._time_s))
                self._tracks.append(track)
            is_second = self._time_s - track.face.born_s >= _CONFIRM_AFTER_S - _ROUNDING_S
            sure = _SURE_SCORE_TILTED if detection.roll else _SURE_SCORE
            if is_second or detection.score >= sure:
                track.confirmed = True

    def _is_tilt_due(self) -> bool:
        is_due = self._time_s - self._tilted_s >= _TILT_EVERY_S - _ROUNDING_S
        return is_due or any(track.face.roll for track in self._tracks)

    def _tilted(
        self,
        detector: CascadeDetector,
        rgb: Picture,
        view: View,
        upright: list[Detection],
        is_first: bool,
    ) -> list[Detection]:
        """Heads tilted to one side, or to either side in the first picture."""
        self._tilted_s = self._time_s
        min_score = _SURE_SCORE_TILTED if is_first else _MIN_SCORE_TILTED
        for _ in range(2 if is_first else 1):
            heads = [
                head
                for head in detector.detect(rgb, self._tilt)
                if not any(head.box.iou(other.box) > 0 for other in upright)
            ]
            tracks = self._matched(heads, view)
            tilted = [
                head
                for head, track in zip(heads, tracks, strict=True)
                if track is not None or head.score >= min_score
            ]
            if tilted:
                return tilted
            self._tilt = -self._tilt
        return []

    def _matched(self, detections: list[Detection], view: View) -> list[_Track | None]:
        """The track that each detection continues, by the assignment of least total cost."""
        if not detections or not self._tracks:
            return [None] * len(detections)
        costs = [[t.face.cost(d, view, self._time_s) for t in self._tracks] for d in detections]
        _, columns, _ = lap.lapjv(np.array(costs), extend_cost=True, cost_limit=_COST_LIMIT)
        return [self._tracks[i] if i >= 0 else None for i in columns.tolist()]

    def _is_inside_a_face(self, detection: Detection) -> bool:
        """Whether it is only a part of a visible face that this detection missed as a whole."""
        x, y = detection.box.center
        boxes = [track.face.box for track in self._tracks if track.face.seen]
        return any(b.x1 < x < b.x2 and b.y1 < y < b.y2 for b in boxes)

    def _hide_stale_and_covered(self) -> None:
        """Hide faces not detected for `memory_s`, and faces behind another one."""
        front: list[FollowedFace] = []
        faces = [track.face for track in self._tracks if track.face.seen]
        for face in sorted(faces, key=lambda f: (f.detected_s, f.match), reverse=True):
            stale = self._time_s - face.detected_s > self._memory_s
            covered = any(face.box.iou(other.box) > _SAME_FACE_IOU for other in front)
            if stale or covered:
                face.hide()
            else:
                front.append(face)

    def _assign_ids(self, tracks: Iterable[_Track]) -> None:
        for track in tracks:
            if track.id is None:
                track.id = self._next_id
                self._next_id += 1


def _heads_touch(one: Box, other: Box) -> bool:
    """Whether two heads overlap. They are wider than the boxes, which end at the cheeks."""
    return grown(one, _HEAD).iou(grown(other, _HEAD)) > 0
