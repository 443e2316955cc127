"""Follow one face from frame to frame: its position, its appearance, whether it is visible.

A face is followed by template matching: a small grey patch from its last detection is searched for
around the position that a constant-velocity model predicts. On the sample clips at 10 Hz this is as
accurate as pyramidal Lucas-Kanade median flow (median error 1 % of the box's side) at a quarter of
the cost (0.1 against 0.45 CPU-ms a face). It does not drift with a hand that covers the face, and
a low correlation shows that the face is lost.
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

# Correlation of a face with its own patch half a second earlier: above 0.85, and above 0.55 with a
# hand on the mouth. Across a cut only a match that no other face reaches continues the track.
_MIN_MATCH = 0.5
_MIN_MATCH_ACROSS_CUT = 0.85

_CUT_LEVELS = 25.0  # of 256; the sample clips change by up to 14 in 0.1 s, and by 60 at a cut
_LONGEST_PX = 320
_THUMBNAIL_PX = 32
_PATCH_PX = 24
_SEARCH_PX = 48  # half a face to each side; even, as the patch is, so that the centre is tried
_SIZE_STEP = 1.075
_MIN_CONTRAST = 2.0  # grey levels; a flatter patch matches everywhere

# The motion model, in sides of the box and seconds.
_ACCELERATION_NOISE = 4.0  # spectral density
_START_SPEED = 3.0
_DETECTION_NOISE = 0.04
_MATCH_NOISE = 0.01
_POOR_MATCH_NOISE = 0.5
_PENALTY_PER_SIDE = 0.6  # subtracted from the correlation for a jump of one side
_SIZE_GAIN = 0.5
_KEEP_TEMPLATE_S = 2.0
_REACH_PER_S, _MAX_REACH = 2.0, 1.5  # growth of the box of a face that is not visible
_COASTING_S = 1.0  # time constant at which such a face loses its speed


class View:
    """A frame prepared for following: grey and small, at three resolutions."""

    def __init__(self, rgb: Picture) -> None:
        self.height, self.width = rgb.shape[:2]
        factor = min(1.0, _LONGEST_PX / max(self.height, self.width))
        size = (max(round(self.width * factor), 1), max(round(self.height * factor), 1))
        # Converted to grey after shrinking: far fewer pixels.
        self._levels = [cv2.cvtColor(cv2.resize(rgb, size), cv2.COLOR_RGB2GRAY)]
        for _ in range(2):
            height, width = self._levels[-1].shape
            half = (max(width // 2, 1), max(height // 2, 1))
            self._levels.append(cv2.resize(self._levels[-1], half, interpolation=cv2.INTER_AREA))
        square = (_THUMBNAIL_PX, _THUMBNAIL_PX)
        thumbnail = cv2.resize(self._levels[-1], square, interpolation=cv2.INTER_AREA)
        self._thumbnail = thumbnail.astype(np.float32) - thumbnail.mean()

    def is_another_shot(self, other: "View") -> bool:
        """Whether there is a cut between two frames; a change of brightness alone is none."""
        if (self.height, self.width) != (other.height, other.width):
            return True
        return float(np.abs(self._thumbnail - other._thumbnail).mean()) > _CUT_LEVELS

    def contains(self, point: Point) -> bool:
        """Whether a point is inside the picture."""
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
    """A face that was detected once and is followed from then on.

    seen          whether it is visible in the current frame
    seen_s        when it was last visible
    detected_s    when it was last detected
    born_s        when it was first detected
    match         correlation with its template, less a penalty for an unexpected position; 1 at a
                  detection
    score, roll   of its last detection
    """

    seen: bool
    _view: View  # the last one of the face's shot

    def __init__(self, detection: Detection, view: View, time_s: float) -> None:
        self.born_s = time_s
        self._motion = self._predicted = _Motion(detection.box)
        self._set_detected(detection, view, time_s)
        self._set_template(view, time_s)

    @property
    def box(self) -> Box:
        """Position of the face, predicted while it is not visible."""
        return self._motion.box

    @property
    def eyes(self) -> Eyes | None:
        """The eyes of the last detection, moved and scaled with the box."""
        if self._eyes_in_sides is None:
            return None
        left, right = (self._motion.center + self._eyes_in_sides * self._motion.side).tolist()
        return (left[0], left[1]), (right[0], right[1])

    def follow(self, view: View, time_s: float, elapsed_s: float) -> None:
        """Move to the best match in this frame, or to the predicted position if there is none."""
        self._motion.predict(elapsed_s, coasting=not self.seen)
        in_shot = not view.is_another_shot(self._view)
        self._predicted = copy.copy(self._motion)
        if self.seen:
            place = self._best_place(view)
            jump = math.dist(place.center, self.box.center) / self._motion.side
            self.match = place.match - _PENALTY_PER_SIDE * jump
            min_match = _MIN_MATCH if in_shot else _MIN_MATCH_ACROSS_CUT
            self.seen = self.match >= min_match and view.contains(place.center)
            if self.seen:
                self.seen_s = time_s
                # An object that covers part of the face distorts the match: the weaker it is, the
                # more the predicted motion counts.
                noise = _MATCH_NOISE + _POOR_MATCH_NOISE * (1 - place.match) ** 2
                self._motion.correct(place.center, place.side, noise)
        # An object close to the camera may fill the picture: the shot is then still the last one.
        if in_shot or self.seen:
            self._view = view

    def hide(self) -> None:
        """Undo this frame's match, which belongs to another face."""
        self.seen, self._motion = False, self._predicted

    def detect(self, detection: Detection, view: View, time_s: float, *, crowded: bool) -> None:
        """Continue with a detection.

        While other faces are close (`crowded`) the template is kept for some time, since a fresh
        one might show part of the face in front."""
        self._motion.correct(detection.box.center, _side(detection.box), _DETECTION_NOISE)
        self._motion.aspect = _aspect(detection.box)
        self._set_detected(detection, view, time_s)
        if not crowded or time_s - self._template_s > _KEEP_TEMPLATE_S:
            self._set_template(view, time_s)

    def cost(self, detection: Detection, view: View, time_s: float) -> float:
        """Cost of assigning a detection to this face, 0 to 3: lack of overlap and of similarity.

        The longer the face was not visible, the larger its box counts. A detection in another shot
        costs 3."""
        reach = 1 + min(_REACH_PER_S * (time_s - self.seen_s), _MAX_REACH)
        overlap = grown(self.box, reach).iou(grown(detection.box, reach))
        if overlap == 0.0 or self._view is not view:
            return 3.0
        similarity = 0.5
        if self._has_texture:
            side_px, patch_px = 1.5 * _side(detection.box), round(1.5 * _PATCH_PX)
            around = view.patch(detection.box.center, side_px, patch_px)
            similarity = _correlation(around, self._template)[0]
        return (1 - overlap) + (1 - similarity)

    def _set_detected(self, detection: Detection, view: View, time_s: float) -> None:
        self.seen, self.match = True, 1.0
        self.score, self.roll = detection.score, detection.roll
        self.seen_s = self.detected_s = time_s
        self._view = view
        self._eyes_in_sides = None
        if detection.eyes is not None:
            offsets = np.array(detection.eyes) - detection.box.center
            self._eyes_in_sides = offsets / _side(detection.box)

    def _set_template(self, view: View, time_s: float) -> None:
        x, y = self._motion.center.tolist()
        self._template_s = time_s
        self._template = view.patch((x, y), self._motion.side, _PATCH_PX)
        self._has_texture = float(self._template.std()) >= _MIN_CONTRAST

    def _best_place(self, view: View) -> "_Place":
        """The best match near the predicted position, at three sizes, interpolated."""
        if not self._has_texture:
            return _Place(0.0, self.box.center, self._motion.side)
        x, y = self._motion.center.tolist()
        places: list[_Place] = []
        for power in (-1, 0, 1):
            side = self._motion.side * _SIZE_STEP**power
            step = side / _PATCH_PX
            area = view.patch((x, y), step * _SEARCH_PX, _SEARCH_PX)
            match, right, down = _correlation(area, self._template)
            places.append(_Place(match, (x + right * step, y + down * step), side))
        best = max(range(3), key=lambda i: places[i].match)
        offset = _peak(*(place.match for place in places)) if best == 1 else 0.0
        return places[best]._replace(side=places[best].side * _SIZE_STEP**offset)


class _Place(NamedTuple):
    match: float
    center: Point
    side: float


class _Motion:
    """A Kalman filter of constant velocity with random acceleration.

    It filters the centre; its covariance is in sides of the box and the same for x and y. The size
    follows with a constant gain."""

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
        noise = _ACCELERATION_NOISE * np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]])
        self._covariance = step @ self._covariance @ step.T + noise

    def correct(self, center: Point, side: float, noise: float) -> None:
        gain = self._covariance[:, 0] / (self._covariance[0, 0] + noise**2)
        innovation = np.array(center) - self.center
        self.center = self.center + gain[0] * innovation
        self._velocity = self._velocity + gain[1] * innovation
        self._covariance = self._covariance - np.outer(gain, self._covariance[0])
        self.side *= (side / self.side) ** _SIZE_GAIN


def _side(box: Box) -> float:
    """Side of a square of the box's area."""
    return math.sqrt(max(box.area, 1.0))


def _aspect(box: Box) -> float:
    """Square root of width over height."""
    return math.sqrt(max(box.width, 1.0) / max(box.height, 1.0))


def grown(box: Box, factor: float) -> Box:
    """Scale a box about its centre."""
    x, y = box.center
    width, height = box.width * factor, box.height * factor
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _correlation(
    area: cv2.typing.MatLike, template: cv2.typing.MatLike
) -> tuple[float, float, float]:
    """The best normalised correlation, and its offset (right, down) from the centre of `area`."""
    scores = cv2.matchTemplate(area, template, cv2.TM_CCOEFF_NORMED)
    _, match, _, (x, y) = cv2.minMaxLoc(scores)
    last = scores.shape[0] - 1
    right = x + (_peak(*scores[y, x - 1 : x + 2].tolist()) if 0 < x < last else 0.0)
    down = y + (_peak(*scores[y - 1 : y + 2, x].tolist()) if 0 < y < last else 0.0)
    return match, right - last / 2, down - last / 2


def _peak(before: float, here: float, after: float) -> float:
    """Position of the maximum of the parabola through values at -1, 0 and 1; `here` is largest."""
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
