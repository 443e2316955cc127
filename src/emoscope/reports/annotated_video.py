"""A video with the Timeline drawn on it: boxes, ids, leading labels and probability bars."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import BoolArray, FloatArray, Picture
from emoscope.core.errors import MediaError
from emoscope.core.results import Timeline
from emoscope.media.reading.container import open_media
from emoscope.media.video import Frame, read_frames
from emoscope.media.writer import write_video
from emoscope.reports.formats import FORMATS, ReportFormat, Source, source_of
from emoscope.reports.palette import NO_COLOUR, UNSURE, colours, rgb

__all__ = ["annotate", "write_annotated_video"]

Colour = tuple[int, int, int]

MAX_BARS = 5
FONT = cv2.FONT_HERSHEY_SIMPLEX
LIGHT: Colour = (245, 245, 245)
DARK: Colour = (22, 26, 30)
GREY: Colour = rgb(NO_COLOUR)
SAME_TIME_S = 1e-6


def write_annotated_video(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """The video with boxes, ids and probabilities drawn on it, and its own sound."""
    if video is None:
        raise MediaError(
            "An annotated video needs the source video: pass its path to write_report as `video`."
        )
    start_s, end_s = timeline.provenance.start_s, timeline.provenance.end_s
    frames = annotate(timeline, read_frames(video, start_s=start_s, end_s=end_s))
    comment = json.dumps({"emoscope": source_of(timeline)})
    write_video(path, frames, sound_from=video, start_s=start_s, end_s=end_s, comment=comment)


def video_source(path: Path) -> Source:
    """Recording and model of an annotated video, from its comment."""
    with open_media(path) as container:
        source: Source = json.loads(container.metadata["comment"])["emoscope"]
    return source


# The suffix is not ".mp4", which could overwrite the video or another one of the same name.
FORMATS.add("mp4", ReportFormat(".annotated.mp4", write_annotated_video, video_source))


def annotate(timeline: Timeline, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Draw the rows of the Timeline on the frames they cover; other frames are returned unchanged.

    Boxes move linearly from the start of one span to the next, so that they do not jump."""
    faces = [_Face.for_track(timeline, track) for track in timeline.tracks]
    for frame in frames:
        visible = [(face, row) for face in faces if (row := face.row_at(frame.time_s)) is not None]
        if not visible:
            yield frame
            continue
        picture = frame.rgb.copy()
        for face, row in visible:
            _draw(picture, face, row, face.box_at(row, frame.time_s))
        yield replace(frame, rgb=picture)


@dataclass(frozen=True, eq=False)
class _Face:
    rows: Timeline  # of this face only
    answered: BoolArray  # (N,)
    colours: tuple[Colour, ...]  # (C,)
    bars: tuple[int, ...]  # columns shown as bars, fixed so that the list does not change

    @classmethod
    def for_track(cls, timeline: Timeline, track: int) -> "_Face":
        rows = timeline.for_track(track)
        peaks = np.where(rows.seen[:, None], rows.probs, 0.0).max(axis=0)
        highest = np.argsort(-peaks, kind="stable")[:MAX_BARS]
        label_colours = colours(rows.labels)
        return cls(
            rows=rows,
            answered=rows.answered,
            colours=tuple(rgb(label_colours[label]) for label in rows.labels),
            bars=tuple(sorted(highest.tolist())),
        )

    def row_at(self, time_s: float) -> int | None:
        """Find the row whose span covers this time, if the face was seen in it."""
        starts_s, ends_s = self.rows.spans_s.T
        row = int(np.searchsorted(starts_s, time_s + SAME_TIME_S, side="right")) - 1
        if row < 0 or np.isnan(self.rows.probs[row]).any():
            return None
        covered = time_s < ends_s[row] - SAME_TIME_S or time_s - starts_s[row] < SAME_TIME_S
        return row if covered else None

    def box_at(self, row: int, time_s: float) -> FloatArray:
        """Interpolate between this span's box and the next one's, if the spans are adjacent.

        Returns (4,) xyxy."""
        spans_s, boxes = self.rows.spans_s, self.rows.boxes_xyxy
        following = row + 1
        if following == len(boxes) or spans_s[following, 0] - spans_s[row, 1] >= 1e-3:
            return boxes[row]
        share = (time_s - spans_s[row, 0]) / (spans_s[following, 0] - spans_s[row, 0])
        return (1 - share) * boxes[row] + share * boxes[following]


def _draw(picture: Picture, face: _Face, row: int, box: FloatArray) -> None:
    height, width = picture.shape[:2]
    if np.isnan(box).any():  # the model reads the whole picture
        box = np.array([0, 0, width - 1, height - 1])
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    probs = face.rows.probs[row]
    label, colour = UNSURE, GREY
    if face.answered[row]:
        leading = int(probs.argmax())
        label, colour = f"{face.rows.labels[leading]} {probs[leading]:.0%}", face.colours[leading]
    pen = _Pen.for_picture(picture)
    pen.frame(x1, y1, x2, y2, colour)
    pen.title(x1, y1, f"{int(face.rows.track[row])}  {label}", colour)
    bars = [(face.rows.labels[c], float(probs[c]), face.colours[c]) for c in face.bars]
    pen.bars(x1, y1, x2, bars)


@dataclass(frozen=True, eq=False)
class _Pen:
    """Draws on one picture, with sizes in proportion to its shorter side."""

    picture: Picture
    scale: float  # of the font
    line: int  # px, height of a line of text
    thick: int  # px

    @classmethod
    def for_picture(cls, picture: Picture) -> "_Pen":
        side = min(picture.shape[:2])
        scale = max(0.38, side / 1200)  # a smaller font is not legible
        (_, height), baseline = cv2.getTextSize("Ag", FONT, scale, 1)
        return cls(picture, scale, height + 2 * baseline, max(1, round(side / 360)))

    def width(self, text: str) -> int:
        return int(cv2.getTextSize(text, FONT, self.scale, self._weight)[0][0])

    def frame(self, x1: int, y1: int, x2: int, y2: int, colour: Colour) -> None:
        # The dark outline keeps the coloured line visible on any background.
        cv2.rectangle(self.picture, (x1, y1), (x2, y2), DARK, self.thick + 2, cv2.LINE_AA)
        cv2.rectangle(self.picture, (x1, y1), (x2, y2), colour, self.thick, cv2.LINE_AA)

    def title(self, x: int, y: int, text: str, colour: Colour) -> None:
        """Draw a coloured plate above the point, or below it at the top of the picture."""
        width = self.width(text) + self.line
        x = max(0, min(x, self.picture.shape[1] - width))
        top = y - self.line if y >= self.line else max(y, 0)
        cv2.rectangle(self.picture, (x, top), (x + width, top + self.line), colour, cv2.FILLED)
        is_bright = np.dot(colour, (0.299, 0.587, 0.114)) > 128
        self._text(x + self.line // 2, top, text, DARK if is_bright else LIGHT)

    def bars(self, x1: int, y1: int, x2: int, bars: list[tuple[str, float, Colour]]) -> None:
        """Draw a list of bars to the right of the box, or else to its left.

        If there is no room beside the box, the list is drawn inside it, unless it would cover more
        than half of its width."""
        half = self.line // 2
        name_width = max(self.width(name) for name, _, _ in bars)
        width, height = name_width + 5 * self.line, len(bars) * self.line + half
        if x2 + half + width <= self.picture.shape[1]:
            left = x2 + half
        elif x1 - half - width >= 0:
            left = x1 - half - width
        elif 2 * width <= x2 - x1:
            left = x2 - width
        else:
            return
        top = max(min(y1, self.picture.shape[0] - height), 0)
        plate = self.picture[top : top + height, left : left + width]
        plate[:] = plate // 3 + np.array(DARK, np.uint8) // 3 * 2
        for i, (name, prob, colour) in enumerate(bars):
            y = top + half // 2 + i * self.line
            self._text(left + half, y, name, LIGHT)
            start = left + name_width + self.line
            end = start + round(prob * (width - name_width - self.line - half))
            cv2.rectangle(
                self.picture,
                (start, y + self.line // 4),
                (end, y + 3 * self.line // 4),
                colour,
                cv2.FILLED,
            )

    @property
    def _weight(self) -> int:
        return max(1, round(self.scale * 1.6))

    def _text(self, x: int, top: int, text: str, colour: Colour) -> None:
        base = top + round(0.72 * self.line)
        cv2.putText(
            self.picture, text, (x, base), FONT, self.scale, colour, self._weight, cv2.LINE_AA
        )
