"""`prepare`: failures, stored results, and processes."""

import errno
import itertools
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from making import make_image, make_image_folder, make_sound, make_text, make_video
from preparing import built, clips_in, copies, ready, spec_of
from refusing import refusal

from emoscope.core.clipspec import (
    ClipSpec,
    Last,
    Stream,
    Vector,
)
from emoscope.core.errors import EmoscopeError, MediaError, MissingExtra, ReadError
from emoscope.corpora import cutting
from emoscope.corpora import prepare as preparing
from emoscope.corpora.cutting import Cutting
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import prepare
from emoscope.media.clips import finish


def forbid(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(where, name, never)


# Failures


def test_a_recording_that_cannot_be_used_is_named_and_the_others_go_on(
    film: Path, tmp_path: Path
) -> None:
    spec = ClipSpec(
        region="frame",
        sampling=Last(length=2),
        streams=(Stream(kind="rgb", size_hw=(8, 8)), Vector(kind="egemaps")),
    )
    good = copies(film, tmp_path / "films", 2)
    bad = {
        make_text(tmp_path / "text.mp4"): "not a video",
        tmp_path / "gone.mp4": "No such file or directory",
        make_video(tmp_path / "mute.mp4", num_frames=3): "the file has no sound",
        make_sound(tmp_path / "tone.m4a"): "no picture",
    }
    late = Sample(film, "joy", start_s=5.0)
    spans = [late, Sample(film, "joy", start_s=0.05, end_s=0.06), Sample(film, "joy", end_s=0.05)]
    samples = [good[0], *(Sample(path, "joy") for path in bad), *spans, good[1]]
    prepared = ready(samples, spec, tmp_path / "cache")
    assert prepared.samples == (good[0], good[1])
    assert [failure.path for failure in prepared.failures] == [*bad, film, film, film]
    reasons = [failure.reason for failure in prepared.failures]
    expected_of_spans = ["past the end", "no frame starts within", "too short or too quiet"]
    for reason, expected in zip(reasons, [*bad.values(), *expected_of_spans], strict=True):
        assert expected in reason
        assert str(tmp_path) not in reason  # equal reasons are counted together
    assert "not a usable sample" in refusal(lambda: prepared.load(late))


def test_any_error_of_a_decoder_is_a_failure_of_that_file_only(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = copies(film, tmp_path / "films", 3)
    whole = cutting.cut

    def cut(sample: Sample, how: Cutting) -> Any:
        if sample == samples[1]:
            raise IndexError("list index out of range\nand more")
        return whole(sample, how)

    monkeypatch.setattr(preparing, "cut", cut)
    prepared = ready(samples, spec_of(), tmp_path / "cache")
    assert [f.reason for f in prepared.failures] == ["IndexError: list index out of range"]
    monkeypatch.undo()
    assert ready(samples, spec_of(), tmp_path / "cache").failures == ()  # not remembered


def test_failures_are_remembered_except_for_a_missing_file(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [
        Sample(make_text(tmp_path / "text.mp4"), "joy"),
        Sample(make_image(tmp_path / "cut.png"), "joy"),
        Sample(tmp_path / "gone.mp4", "joy"),
    ]
    samples[1].path.write_bytes(samples[1].path.read_bytes()[:60])
    first = ready(samples, spec_of(), tmp_path / "cache")
    samples[2].path.write_bytes(film.read_bytes())
    tried, whole = [], cutting.cut

    def cut(sample: Sample, how: Cutting) -> Any:
        tried.append(sample)
        return whole(sample, how)

    monkeypatch.setattr(preparing, "cut", cut)
    second = ready(samples, spec_of(), tmp_path / "cache")
    assert len(first.failures) == 3
    assert second.failures == first.failures[:2]
    assert second.samples == (samples[2],)
    assert tried == [samples[2]]


# Issue 18, kind 14: a passing failure was remembered as the recording's fault
@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.EACCES], ids=os.strerror
)
@pytest.mark.parametrize("kind", ["film", "still", "digest"])
def test_a_passing_failure_is_not_remembered(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    path = make_image(tmp_path / "still.png") if kind == "still" else film
    sample, spec = Sample(path, "joy"), spec_of(sampling=Last(length=1))

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    where = {
        "film": "emoscope.media.reading.container.av.open",
        "still": "emoscope.media.reading.images.np.fromfile",
        "digest": "emoscope.corpora.manifest.hashlib.file_digest",
    }
    monkeypatch.setattr(where[kind], fail)
    prepared = ready([sample], spec, tmp_path / "cache")
    (failure,) = prepared.failures
    assert prepared.warnings == (
        f"{path} could not be read and is left out this time: {failure.reason}.",
    )
    assert re.search(f"{os.strerror(number)}|permission denied", failure.reason)
    assert list((tmp_path / "cache").rglob("*.json")) in ([], [tmp_path / "cache/digests.json"])
    monkeypatch.undo()
    assert ready([sample], spec, tmp_path / "cache").samples == (sample,)


def test_no_memory_is_not_remembered(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(cutting, "gather", fail)
    assert len(ready([Sample(film, "joy")], spec_of(), tmp_path).failures) == 1
    monkeypatch.undo()
    assert len(ready([Sample(film, "joy")], spec_of(), tmp_path).samples) == 1


def test_no_memory_to_decode_a_picture_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(make_image(tmp_path / "still.png"), "joy")

    def fail(*_: Any) -> Any:
        error = cv2.error("Failed to allocate 9 bytes")
        error.code = cv2.Error.StsNoMem
        raise error

    monkeypatch.setattr("emoscope.media.reading.images.cv2.imdecode", fail)
    (failure,) = ready([sample], spec_of(), tmp_path / "cache").failures
    assert failure.reason == "not enough memory to decode it"
    monkeypatch.undo()
    assert ready([sample], spec_of(), tmp_path / "cache").samples == (sample,)


# Issue 18, kind 13: half a clip was kept under the whole recording's digest


def test_a_film_that_fails_half_way_is_not_kept(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ready([Sample(film, "joy")], spec_of(), tmp_path / "whole")
    read_frames = cutting.read_frames

    def failing(*args: Any, **options: Any) -> Any:
        yield from itertools.islice(read_frames(*args, **options), 8)
        raise ReadError(f"{film}: reading stopped at 0.32 s (Input/output error). Try again.")

    monkeypatch.setattr(cutting, "read_frames", failing)
    (failure,) = ready([Sample(film, "joy")], spec_of(), tmp_path / "half").failures
    assert failure.reason == "reading stopped at 0.32 s (Input/output error)"
    monkeypatch.undo()
    again = ready([Sample(film, "joy")], spec_of(), tmp_path / "half")
    for prepared in (whole, again):
        clip = prepared.load(Sample(film, "joy")).pictures[16, 12]
        np.testing.assert_array_equal(clip, whole.load(Sample(film, "joy")).pictures[16, 12])


def test_a_clip_of_a_film_that_ended_early_is_not_kept_as_the_whole_films(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, read_frames = Sample(film, "joy"), cutting.read_frames
    whole = ready([sample], spec_of(), tmp_path / "whole")

    def ending(*args: Any, log: Any, **options: Any) -> Any:
        yield from itertools.islice(read_frames(*args, log=log, **options), 5)
        log.add_end("picture", 0.2, 0.8, None)

    monkeypatch.setattr(cutting, "read_frames", ending)
    short = ready([sample], spec_of(), tmp_path / "short")
    assert short.samples == (sample,)
    note = "the picture ends at 0.20 of 0.80 s: the file is cut off or damaged"
    assert [one.reason for one in short.shortened] == [note]
    assert short.warnings == (f"{film} ends before the length in its header: {note}.",)
    assert list(short.report_lines())[1:] == [
        "used, but ends before the length in its header: 1",
        f"  {film}: {note}",
    ]
    assert short.key(sample) != whole.key(sample)
    again = ready([sample], spec_of(), tmp_path / "short")
    assert again.key(sample) == short.key(sample), "cut again, and found in the cache"
    monkeypatch.undo()
    restored = ready([sample], spec_of(), tmp_path / "short")
    assert restored.key(sample) == whole.key(sample)
    assert restored.shortened == ()


def test_a_span_within_a_short_film_is_whole(film: Path, tmp_path: Path) -> None:
    cut_off = tmp_path / "cut.mkv"
    make_video(cut_off, num_frames=100, options={"g": "10"})
    cut_off.write_bytes(cut_off.read_bytes()[: cut_off.stat().st_size // 2])
    samples = [Sample(cut_off, "joy", end_s=0.5), Sample(cut_off, "joy")]
    prepared = ready(samples, spec_of(), tmp_path / "cache")
    assert prepared.samples == tuple(samples)
    assert [short.path for short in prepared.shortened] == [cut_off]
    assert "of 4.00 s: the file is cut off" in prepared.shortened[0].reason


def test_a_recording_that_is_still_being_written_is_not_kept(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sample,) = copies(film, tmp_path / "films", 1)
    real_digest = preparing.digest

    def digest_then_grow(path: Path) -> str:
        content = real_digest(path)
        path.write_bytes(path.read_bytes() + b"more")
        return content

    monkeypatch.setattr(preparing, "digest", digest_then_grow)
    (failure,) = ready([sample], spec_of(), tmp_path / "cache").failures
    assert failure.reason == "it changed while it was read"
    assert clips_in(tmp_path / "cache") == []
    monkeypatch.undo()
    assert ready([sample], spec_of(), tmp_path / "cache").samples == (sample,)


def test_a_clip_without_a_face_is_remembered_too(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, spec = Sample(film, "joy"), spec_of(region="face")
    first = ready([sample], spec, tmp_path, "haar")
    forbid(monkeypatch, preparing, "cut")
    second = ready([sample], spec, tmp_path, "haar")
    assert [failure.reason for failure in second.failures] == ["no face seen"]
    assert second.report == first.report
    assert second.report["joy"].faceless_clips == 1


def test_a_missing_package_is_raised_and_not_a_failure_of_a_sample(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gather(*_: Any) -> Any:
        raise MissingExtra("eGeMAPS features", "audio")

    monkeypatch.setattr(cutting, "gather", gather)
    with pytest.raises(MissingExtra):
        ready([Sample(film, "joy")], spec_of(), tmp_path)


def test_a_wrong_detector_is_refused_before_any_work(tmp_path: Path) -> None:
    samples = [Sample(tmp_path / "gone.mp4", "joy")]
    with pytest.raises(EmoscopeError, match="Did you mean 'haar'"):
        ready(samples, spec_of(), tmp_path, detector="har")


def test_a_cache_that_cannot_be_written_ends_the_run(film: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("a file")
    with pytest.raises(MediaError, match="cannot be written"):
        ready([Sample(film, "joy")], spec_of(), cache)


# Results of earlier runs


def test_a_second_run_reads_no_recording(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [
        *copies(film, tmp_path / "films", 2),
        Sample(make_image(tmp_path / "still.png"), "joy"),
        Sample(make_image_folder(tmp_path / "images"), "joy", fps=10),
    ]
    calls: list[tuple[int, int]] = []
    first = ready(samples, spec_of(), tmp_path / "cache", progress=lambda *n: calls.append(n))
    assert calls == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    forbid(monkeypatch, preparing, "cut")
    forbid(monkeypatch, preparing, "digest")
    second = ready(samples, spec_of(), tmp_path / "cache", progress=lambda *n: calls.append(n))
    assert second.samples == first.samples == tuple(samples)
    assert second.report == first.report
    assert calls[-1] == (4, 4)


def test_digests_are_saved_during_a_run_and_are_optional(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, cache = copies(film, tmp_path / "films", 2), tmp_path / "cache"
    book, saved = cache / "digests.json", []
    monkeypatch.setattr(preparing, "_SAVE_EVERY_S", 0)
    ready(samples, spec_of(), cache, progress=lambda *_: saved.append(book.exists()))
    assert saved == [False, True, True]
    book.unlink()
    book.mkdir()  # so that it cannot be written
    monkeypatch.undo()
    assert ready(samples, spec_of(), cache).failures == ()


@pytest.mark.parametrize("whole", [False, True])
def test_a_recording_that_changed_is_cut_again(film: Path, tmp_path: Path, whole: bool) -> None:
    sample = copies(film, tmp_path / "films", 1)[0]
    ready([sample], spec_of(), tmp_path / "cache", whole=whole)
    make_video(sample.path, num_frames=7, size_wh=(32, 32))
    changed = ready([sample], spec_of(), tmp_path / "cache", whole=whole).load(sample)
    np.testing.assert_array_equal(
        finish(changed, spec_of())["rgb"][-3:], built(sample, spec_of())["rgb"]
    )


def test_equal_recordings_share_one_clip(film: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.mp4"
    twin.write_bytes(film.read_bytes())
    samples = [Sample(film, "joy"), Sample(twin, "fear"), Sample(film, "joy", groups={"a": "b"})]
    assert ready(samples, spec_of(), tmp_path / "cache").samples == tuple(samples)
    assert len(clips_in(tmp_path / "cache")) == 1


def test_a_still_that_needs_no_detection_is_not_stored(tmp_path: Path) -> None:
    spec, cache = spec_of(region="face", sampling=Last(length=1)), tmp_path / "cache"
    sample = Sample(make_image(tmp_path / "still.png"), "joy")
    prepared = ready([sample], spec, cache)
    assert clips_in(cache) == []
    first = prepared.load(sample).pictures[16, 12]
    make_image(sample.path, np.full((48, 64, 3), 9, np.uint8))
    assert (prepared.load(sample).pictures[16, 12] == 9).all()
    assert first.shape == (1, 16, 12, 3)
    sample.path.unlink()
    assert "no longer readable (no such file)" in refusal(lambda: prepared.load(sample))


def test_a_damaged_still_is_a_failure_with_every_detector(tmp_path: Path) -> None:
    sample = Sample(make_image(tmp_path / "still.png"), "joy")
    sample.path.write_bytes(sample.path.read_bytes()[:60])
    for detector in ("haar", "none", "none"):
        prepared = ready([sample], spec_of(region="face"), tmp_path / "cache", detector)
        assert [f.reason for f in prepared.failures] == ["not an image, or cut off"]


# Processes

RUN = """
import sys
from pathlib import Path
from emoscope.core.clipspec import ClipSpec
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import prepare
folder, cache, spec = sys.argv[1:]
samples = [Sample(path, "joy") for path in sorted(Path(folder).iterdir())]
prepare(samples, ClipSpec.from_json(spec), Path(cache), detector="none", workers=2)
"""


def test_a_killed_run_continues_where_it_stopped(film: Path, tmp_path: Path) -> None:
    samples = copies(film, tmp_path / "films", 40)
    spec, cache = spec_of(), tmp_path / "cache"
    words = [str(tmp_path / "films"), str(cache), spec.model_dump_json()]
    run = subprocess.Popen([sys.executable, "-c", RUN, *words], start_new_session=True)
    while not clips_in(cache):
        assert run.poll() is None
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    done = {clip: clip.stat().st_mtime_ns for clip in clips_in(cache)}
    assert 0 < len(done) < 40
    prepared = ready(samples, spec, cache)
    assert prepared.samples == tuple(samples)
    assert len(clips_in(cache)) == 40
    assert all(clip.stat().st_mtime_ns == changed for clip, changed in done.items())
    expected = built(samples[0], spec)["rgb"]
    for sample in samples:
        np.testing.assert_array_equal(finish(prepared.load(sample), spec)["rgb"], expected)


def test_two_processes_give_the_same_result_as_one(film: Path, tmp_path: Path) -> None:
    samples = [*copies(film, tmp_path / "films", 3), Sample(tmp_path / "gone.mp4", "joy")]
    one = ready(samples, spec_of(), tmp_path / "one")
    two = prepare(samples, spec_of(), tmp_path / "two", detector="none", workers=2)
    assert (two.samples, two.failures, two.report) == (one.samples, one.failures, one.report)
    assert [c.name for c in clips_in(tmp_path / "two")] == [
        c.name for c in clips_in(tmp_path / "one")
    ]


def test_prepared_samples_can_be_pickled(film: Path, tmp_path: Path) -> None:
    sample = Sample(film, "joy")
    prepared = pickle.loads(pickle.dumps(ready([sample], spec_of(), tmp_path)))
    assert len(prepared.load(sample)) == 3
