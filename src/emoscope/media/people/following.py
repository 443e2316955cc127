"""One face from frame to frame: where it is, what it looks like, whether it is in sight.

A face is followed by its template: a small grey patch from its last detection, sought around the
place that a constant-velocity model predicts. Measured on the sample clips at 10 Hz, this is as
exact as pyramidal Lucas-Kanade median flow (median error 1 % of the box's side) for a quarter of
the cost (0.1 against 0.45 CPU-ms a face); it does not drift with a hand that covers the face, and
its correlation says when the face is lost.
"""

import copy
import math
from typing import NamedTuple

import cv2
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import Detection, Eyes, Point

__all__ = ["FollowedFace", "View", "grown"]

# Correlations with a face's looks half a second ago: its own are above 0.85, with a hand on the
# mouth above 0.55. Through a cut, only what cannot be another face goes on.
_LOST_MATCH = 0.5
_SAME_FACE_MATCH = 0.85

_CUT_LEVELS = 25.0  # of 256; the sample clips change by up to 14 in 0.1 s, and by 60 at a cut
_LONGEST_PX = 320
_THUMBNAIL_PX = 32
_PATCH_PX = 24
_SEARCH_PX = 48  # half a face to each side; even as the patch, so that the middle itself is tried
_SIZE_STEP = 1.075
_MIN_CONTRAST = 2.0  # grey levels; a flatter patch cannot be told from its surroundings

# Of motion, in sides of the box and seconds.
_JERKINESS = 4.0  # spectral density of the acceleration
_START_SPEED = 3.0
_DETECTION_NOISE = 0.04
_FOLLOWING_NOISE = 0.01
_DOUBT_NOISE = 0.5
_DOUBT_PER_SIDE = 0.6
_SIZE_GAIN = 0.5
_KEEP_LOOKS_S = 2.0
_REACH_PER_S, _MAX_REACH = 2.0, 1.5  # how much larger an unseen face's box counts
_COASTING_S = 1.0  # an unseen face loses its speed with this time constant


class View:
    """A frame as following sees it: grey, small, at three resolutions."""

    def __init__(self, rgb: Picture) -> None:
        self.height, self.width = rgb.shape[:2]
        factor = min(1.0, _LONGEST_PX / max(self.height, self.width))
        size = (max(round(self.width * factor), 1), max(round(self.height * factor), 1))
        # Grey after the reduction: far fewer pixels to convert.
        self._levels = [cv2.cvtColor(cv2.resize(rgb, size), cv2.COLOR_RGB2GRAY)]
        for _ in range(2):
            height, width = self._levels[-1].shape
            half = (max(width // 2, 1), max(height // 2, 1))
            self._levels.append(cv2.resize(self._levels[-1], half, interpolation=cv2.INTER_AREA))
        square = (_THUMBNAIL_PX, _THUMBNAIL_PX)
        thumbnail = cv2.resize(self._levels[-1], square, interpolation=cv2.INTER_AREA)
        self._thumbnail = thumbnail.astype(np.float32) - thumbnail.mean()

    def is_another_shot(self, other: "View") -> bool:
        """Whether the grey levels of all of the picture, brightness apart, are others."""
        if (self.height, self.width) != (other.height, other.width):
            return True
        return float(np.abs(self._thumbnail - other._thumbnail).mean()) > _CUT_LEVELS

    def holds(self, point: Point) -> bool:
        """Whether a point lies in the picture."""
        return 0 <= point[0] < self.width and 0 <= point[1] < self.height

    def patch(self, center: Point, side: float, patch_px: int) -> cv2.typing.MatLike:
        """The square of `side` source pixels around a point, as (patch_px, patch_px) grey."""
        step = side / patch_px  # source pixels a patch pixel
        coarseness = step * self._levels[0].shape[1] / self.width
        level = min(round(math.log2(max(coarseness, 1.0))), len(self._levels) - 1)
        gray = self._levels[level]
        scale_x, scale_y = gray.shape[1] / self.width, gray.shape[0] / self.height
        # Pixel i covers [i, i + 1): its centre is at i + 0.5.
        x = (center[0] - side / 2 + step / 2) * scale_x - 0.5
        y = (center[1] - side / 2 + step / 2) * scale_y - 0.5
        to_source = np.array([[step * scale_x, 0, x], [0, step * scale_y, y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (patch_px, patch_px)
        return cv2.warpAffine(gray, to_source, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


class FollowedFace:
    """A face that was detected once and is followed since.

    seen        whether it is in sight in the current frame
    seen_s, detected_s, born_s   when it was last in sight, last detected, first detected
    match       correlation with its looks, less some for a place that was not expected; 1 at a
                detection
    score       of its last detection
    """

    def __init__(self, face: Detection, view: View, time_s: float) -> None:
        self.born_s = time_s
        self.seen = True
        self._view = view  # the last one of the face's shot
        self._motion = self._expected = _Motion(face.box)
        self._sight(face, view, time_s)
        self._look(view, time_s)

    @property
    def box(self) -> Box:
        """Where the face is, or is thought to be while it is not seen."""
        return self._motion.box

    @property
    def eyes(self) -> Eyes | None:
        """Where the last detection's eyes are now, moved and sized with the box."""
        if self._eyes_in_sides is None:
            return None
        left, right = (self._motion.center + self._eyes_in_sides * self._motion.side).tolist()
        return (left[0], left[1]), (right[0], right[1])

    def follow(self, view: View, time_s: float, elapsed_s: float) -> None:
        """Move to where the face is in this frame; if it is not found, to where it should be."""
        self._motion.predict(elapsed_s, coasting=not self.seen)
        in_shot = not view.is_another_shot(self._view)
        self._expected = copy.copy(self._motion)
        if self.seen:
            place = self._find(view)
            jump = math.dist(place.center, self.box.center) / self._motion.side
            self.match = place.match - _DOUBT_PER_SIDE * jump
            enough = _LOST_MATCH if in_shot else _SAME_FACE_MATCH
            self.seen = self.match >= enough and view.holds(place.center)
            if self.seen:
                self.seen_s = time_s
                # What covers a part of the face pulls at the rest: the weaker the match, the less
                # it counts against the face's own motion.
                noise = _FOLLOWING_NOISE + _DOUBT_NOISE * (1 - place.match) ** 2
                self._motion.correct(place.center, place.side, noise)
        # Something close that hides the face may fill the picture; the shot is what was before.
        if in_shot or self.seen:
            self._view = view

    def hide(self) -> None:
        """Take it that what was found in this frame is another face."""
        self.seen, self._motion = False, self._expected

    def take(self, face: Detection, view: View, time_s: float, *, crowded: bool) -> None:
        """Go on with a detection. In a crowd the looks of before are kept a while: those of now
        may be partly those of the face in front."""
        self._motion.correct(face.box.center, _side(face.box), _DETECTION_NOISE)
        self._motion.aspect = _aspect(face.box)
        self._sight(face, view, time_s)
        if not crowded or time_s - self._looked_s > _KEEP_LOOKS_S:
            self._look(view, time_s)

    def cost(self, face: Detection, view: View, time_s: float) -> float:
        """How badly a detection continues this face: lack of overlap plus lack of likeness, from 0
        to 3. The longer the face was unseen, the farther its box reaches; none reaches into
        another shot."""
        reach = 1 + min(_REACH_PER_S * (time_s - self.seen_s), _MAX_REACH)
        overlap = grown(self.box, reach).iou(grown(face.box, reach))
        if overlap == 0.0 or self._view is not view:
            return 3.0
        likeness = 0.5
        if self._has_texture:
            around = view.patch(face.box.center, 1.5 * _side(face.box), round(1.5 * _PATCH_PX))
            likeness = _correlation(around, self._template)[0]
        return (1 - overlap) + (1 - likeness)

    def _sight(self, face: Detection, view: View, time_s: float) -> None:
        self.seen, self.match, self.score = True, 1.0, face.score
        self.seen_s = self.detected_s = time_s
        self._view = view
        self._eyes_in_sides = None
        if face.eyes is not None:
            self._eyes_in_sides = (np.array(face.eyes) - face.box.center) / _side(face.box)

    def _look(self, view: View, time_s: float) -> None:
        """Remember what the face looks like where it is now."""
        x, y = self._motion.center.tolist()
        self._looked_s = time_s
        self._template = view.patch((x, y), self._motion.side, _PATCH_PX)
        self._has_texture = float(self._template.std()) >= _MIN_CONTRAST

    def _find(self, view: View) -> "_Place":
        """The best place near the predicted one, between the pixels and sizes tried."""
        if not self._has_texture:
            return _Place(0.0, self.box.center, self._motion.side)
        x, y = self._motion.center.tolist()
        tried: list[_Place] = []
        for power in (-1, 0, 1):
            side = self._motion.side * _SIZE_STEP**power
            step = side / _PATCH_PX
            area = view.patch((x, y), step * _SEARCH_PX, _SEARCH_PX)
            match, right, down = _correlation(area, self._template)
            tried.append(_Place(match, (x + right * step, y + down * step), side))
        best = max(range(3), key=lambda i: tried[i].match)
        between = _peak(*(place.match for place in tried)) if best == 1 else 0.0
        return tried[best]._replace(side=tried[best].side * _SIZE_STEP**between)


class _Place(NamedTuple):
    match: float
    center: Point
    side: float


class _Motion:
    """Constant velocity with random acceleration: a Kalman filter for the centre, its covariance
    in sides of the box and the same for x and y. The size follows with a constant gain."""

    def __init__(self, box: Box) -> None:
        self.center = np.array(box.center)
        self._velocity = np.zeros(2)  # px / s
        self._covariance = np.diag([_DETECTION_NOISE**2, _START_SPEED**2])
        self.side, self.aspect = _side(box), _aspect(box)

    @property
    def box(self) -> Box:
        x, y = self.center.tolist()
        width, height = self.side * self.aspect, self.side / self.aspect
        return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def predict(self, elapsed_s: float, *, coasting: bool) -> None:
        t = elapsed_s
        if coasting:
            self._velocity = self._velocity * math.exp(-t / _COASTING_S)
        self.center = self.center + self._velocity * t
        step = np.array([[1.0, t], [0.0, 1.0]])
        noise = _JERKINESS * np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]])
        self._covariance = step @ self._covariance @ step.T + noise

    def correct(self, center: Point, side: float, noise: float) -> None:
        gain = self._covariance[:, 0] / (self._covariance[0, 0] + noise**2)
        surprise = np.array(center) - self.center
        self.center = self.center + gain[0] * surprise
        self._velocity = self._velocity + gain[1] * surprise
        self._covariance = self._covariance - np.outer(gain, self._covariance[0])
        self.side *= (side / self.side) ** _SIZE_GAIN


def _side(box: Box) -> float:
    return math.sqrt(max(box.area, 1.0))


def _aspect(box: Box) -> float:
    return math.sqrt(max(box.width, 1.0) / max(box.height, 1.0))


def grown(box: Box, factor: float) -> Box:
    """The box `factor` times as wide and high around the same middle."""
    x, y = box.center
    width, height = box.width * factor, box.height * factor
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _correlation(
    area: cv2.typing.MatLike, template: cv2.typing.MatLike
) -> tuple[float, float, float]:
    """The best normalised correlation, and how far right and down of the area's middle it is."""
    scores = cv2.matchTemplate(area, template, cv2.TM_CCOEFF_NORMED)
    _, match, _, (x, y) = cv2.minMaxLoc(scores)
    last = scores.shape[0] - 1
    right = x + (_peak(*scores[y, x - 1 : x + 2].tolist()) if 0 < x < last else 0.0)
    down = y + (_peak(*scores[y - 1 : y + 2, x].tolist()) if 0 < y < last else 0.0)
    return match, right - last / 2, down - last / 2


def _peak(before: float, here: float, after: float) -> float:
    """Where the parabola through three values at -1, 0, 1 has its top, `here` being the largest."""
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
