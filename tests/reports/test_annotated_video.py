from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from emoscope.core.errors import MediaError
from emoscope.core.results import Timeline
from emoscope.media.video import Frame
from emoscope.reports.annotated_video import annotate
from emoscope.reports.formats import write_report

GREY = (128, 128, 128)


def grey_frame(time_s: float, size_hw: tuple[int, int] = (120, 160)) -> Frame:
    return Frame(np.full((*size_hw, 3), 128, np.uint8), time_s, 0)


def drawn(timeline: Timeline, time_s: float, size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Return the mask (H, W) of changed pixels."""
    (frame,) = annotate(timeline, [grey_frame(time_s, size_hw)])
    return (frame.rgb != 128).any(axis=2)


def left_edge(mask: np.ndarray, row: int) -> float:
    """Return the column of the middle of the box's left line."""
    columns = np.flatnonzero(mask[row])
    run = columns[columns <= columns[0] + 6]
    return float(run.mean())


def test_the_box_is_drawn_and_distant_pixels_stay_unchanged(two_people: Timeline) -> None:
    changed = drawn(two_people.for_track(1), 0.1)
    for row, column in ((55, 20), (55, 60), (80, 40), (30, 40)):
        assert changed[row, column]
    assert not changed[35:75, 25:55].any()  # the face itself
    assert not changed[85:].any()
    assert not changed[:, :15].any()


def test_frames_without_a_face_are_returned_unchanged(two_people: Timeline) -> None:
    before = [grey_frame(time_s) for time_s in (0.5, 0.99, 2.0, 7.0)]
    after = list(annotate(two_people, before))
    assert all(a is b for a, b in zip(after, before, strict=True))


def test_the_source_frame_is_not_modified(two_people: Timeline) -> None:
    frame = grey_frame(0.1)
    (after,) = annotate(two_people, [frame])
    assert (frame.rgb == 128).all()
    assert (after.rgb != 128).any()
    assert (after.time_s, after.index) == (frame.time_s, frame.index)


def test_all_people_in_a_frame_are_drawn(two_people: Timeline) -> None:
    assert drawn(two_people, 1.1)[55, [20, 140]].all()
    assert not drawn(two_people, 1.6)[55, 140]


def test_a_box_moves_linearly_between_spans(two_people: Timeline) -> None:
    part = two_people.for_track(1)
    boxes = part.boxes_xyxy.copy()
    boxes[3] += [20, 0, 20, 0]  # the span from 1.25 to 1.5 s
    moving = replace(part, boxes_xyxy=boxes)
    edges = [left_edge(drawn(moving, time_s), 70) for time_s in (1.0, 1.0625, 1.125, 1.25)]
    np.testing.assert_allclose(edges, [20, 25, 30, 40], atol=0.6)


def test_a_box_does_not_move_across_a_gap(two_people: Timeline) -> None:
    part = two_people.for_track(1)
    boxes = part.boxes_xyxy.copy()
    boxes[2:] += [40, 0, 40, 0]  # after half a second without the face
    away = replace(part, boxes_xyxy=boxes)
    assert left_edge(drawn(away, 0.49), 70) == pytest.approx(20, abs=0.6)
    assert left_edge(drawn(away, 1.0), 70) == pytest.approx(60, abs=0.6)


def test_bars_are_drawn_beside_the_box_where_there_is_room(two_people: Timeline) -> None:
    wide = two_people.for_track(1)
    right = replace(wide, boxes_xyxy=wide.boxes_xyxy + np.array([0, 100, 0, 100]))
    left = replace(wide, boxes_xyxy=wide.boxes_xyxy + np.array([440, 100, 440, 100]))
    assert drawn(right, 0.1, (240, 500))[140:180, 70:150].any()
    assert not drawn(left, 0.1, (240, 500))[140:180, :200].all(axis=0).any()
    assert drawn(left, 0.1, (240, 500))[140:180, 350:450].any()


def test_a_row_without_a_box_frames_the_whole_picture(two_people: Timeline) -> None:
    whole = replace(two_people, boxes_xyxy=np.full((len(two_people), 4), np.nan))
    changed = drawn(whole, 0.1)
    assert changed[-1].all()
    assert changed[:, 0].all()


def test_the_box_of_a_row_without_a_label_is_grey(two_people: Timeline) -> None:
    def colourfulness(timeline: Timeline) -> float:
        (frame,) = annotate(timeline, [grey_frame(1.1)])
        return float(np.ptp(frame.rgb[40:75, 18:23].astype(int), axis=2).max())

    person = two_people.for_track(1)
    unsure = replace(person, provenance=replace(person.provenance, min_confidence=1.0))
    assert colourfulness(unsure) < 30 < colourfulness(person)


@pytest.mark.parametrize("size_hw", [(16, 16), (2, 64), (1080, 1920), (1920, 1080)])
def test_pictures_of_any_size_can_be_annotated(
    two_people: Timeline, size_hw: tuple[int, int]
) -> None:
    assert drawn(two_people, 1.1, size_hw).shape == size_hw
    boxless = replace(two_people, boxes_xyxy=np.full((len(two_people), 4), np.nan))
    assert drawn(boxless, 1.1, size_hw).any()


def frame_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def sound_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_the_annotated_video_keeps_frames_times_and_sound(
    two_people: Timeline, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    video = make_video([GREY] * 20, sound=True)
    (path,) = write_report(two_people, tmp_path / "out", ["mp4"], video=video)
    assert path.name == "two.annotated.mp4"
    np.testing.assert_allclose(frame_times(path), frame_times(video), atol=1e-3)
    assert len(frame_times(path)) == 20
    assert sound_s(path) == pytest.approx(2.0, abs=0.15)
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    far = np.abs(pictures[1].astype(int)[100:] - 128)
    near = np.abs(pictures[1].astype(int)[80, 25:55] - 128).max(axis=1)
    assert far.max() < 12  # compression noise
    assert near.min() > 30
    assert [p.name for p in path.parent.iterdir()] == ["two.annotated.mp4"]


def test_only_the_analysed_span_is_written(
    two_people: Timeline, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    span = replace(two_people.provenance, start_s=0.5, end_s=1.5)
    video = make_video([GREY] * 20, sound=True)
    (path,) = write_report(
        replace(two_people, provenance=span), tmp_path / "out", ["mp4"], video=video
    )
    np.testing.assert_allclose(frame_times(path), np.arange(10) / 10, atol=1e-3)
    assert sound_s(path) == pytest.approx(1.0, abs=0.1)


def test_a_video_without_sound_can_be_annotated(
    two_people: Timeline, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    video = make_video([GREY] * 5)
    before = video.read_bytes()
    (path,) = write_report(two_people, video.parent, ["mp4"], video=video)
    assert path != video
    assert video.read_bytes() == before
    assert len(frame_times(path)) == 5
    with av.open(str(path)) as container:
        assert not container.streams.audio


def test_a_video_that_cannot_be_read_leaves_no_file(two_people: Timeline, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        write_report(two_people, tmp_path / "out", ["mp4"], video=tmp_path / "broken.mp4")
    assert not list((tmp_path / "out").iterdir())
