"""The cache: names of clips, and damaged files."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import make_text, make_video
from preparing import clips_in, copies, ready, spec_of
from refusing import refusal

from emoscope.core.clipspec import (
    ClipSpec,
    Last,
    LogMel,
    Normalisation,
    Stream,
    Uniform,
    Vector,
    Window,
)
from emoscope.corpora import clip_cache
from emoscope.corpora.clip_cache import ClipCache
from emoscope.corpora.cutting import Cutting
from emoscope.corpora.manifest import Sample

# Names

BASE = spec_of("rgb", region="face", margin=0.1, sampling=Uniform(length=4), rate_hz=10.0)


def name_of(spec: ClipSpec, detector: str = "auto", whole: bool = False, **span: Any) -> str:
    sample = Sample(Path("a.mp4"), "joy", **span)
    return ClipCache(Path(), Cutting(spec, detector, whole)).key("content", sample)


@pytest.mark.parametrize(
    "changes",
    [
        {"margin": 0.2},
        {"align": True},
        {"region": "frame"},
        {"rate_hz": None},
        {"sampling": Uniform(length=5)},
        {"sampling": Last(length=4)},
        {"sampling": Uniform(length=4, jitter=True)},
        {"streams": (Stream(kind="rgb", size_hw=(8, 8)),)},
        {"streams": (Stream(kind="flow", size_hw=(16, 12)),)},
        {"streams": (*BASE.streams, Vector(kind="egemaps"))},
        {"streams": (*BASE.streams, LogMel())},
    ],
    ids=str,
)
def test_settings_that_change_the_material_change_the_name(changes: dict[str, Any]) -> None:
    assert name_of(BASE.model_copy(update=changes)) != name_of(BASE)


@pytest.mark.parametrize("changes", [{"mels": 40}, {"length_s": 1.0}], ids=str)
def test_a_different_logmel_changes_the_name_but_its_normalisation_does_not(
    changes: dict[str, Any],
) -> None:
    one, other, scaled = (
        BASE.model_copy(update={"streams": (*BASE.streams, LogMel(**settings))})
        for settings in ({}, changes, {"normalisation": Normalisation(std=(20.0,))})
    )
    assert name_of(one) != name_of(other)
    assert name_of(one) == name_of(scaled)


def test_detector_span_and_whole_change_the_name_too(tmp_path: Path) -> None:
    weights = [tmp_path / "one.onnx", tmp_path / "two.onnx", tmp_path / "one-again.onnx"]
    for path, content in zip(weights, "aba", strict=True):
        path.write_text(content)
    yunets = [name_of(BASE, f"yunet={path}") for path in weights]
    assert yunets[0] == yunets[2]
    others = [
        name_of(BASE),
        name_of(BASE, "none"),
        name_of(BASE, whole=True),
        name_of(BASE, start_s=1.0),
        name_of(BASE, end_s=1.0),
        name_of(BASE, fps=5.0),
    ]
    assert len({*yunets, *others}) == 8


def test_settings_that_only_finishing_needs_do_not_change_the_name() -> None:
    standard = Normalisation(per_clip=True)
    gray = (Stream(kind="gray", size_hw=(16, 12), normalisation=standard),)
    changed = BASE.model_copy(update={"streams": gray, "window": Window(length_s=3)})
    assert name_of(changed) == name_of(BASE)
    longer = BASE.model_copy(update={"sampling": Uniform(length=9)})
    assert name_of(longer, whole=True) == name_of(BASE, whole=True)
    frame = BASE.model_copy(update={"region": "frame"})
    assert name_of(frame, "none") == name_of(frame)
    body = BASE.model_copy(update={"region": "body"})
    assert name_of(body, "hog") == name_of(body) != name_of(BASE, "haar")
    assert name_of(body, "none") != name_of(body)


# Damaged files


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rot(path: Path) -> None:
    """Flip one bit of a picture."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def rot_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"'descr'")
    data[at + 10] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [cut_off, empty, rot, rot_header, Path.unlink])
def test_a_damaged_clip_is_made_again_when_it_is_loaded(
    film: Path, tmp_path: Path, harm: Any
) -> None:
    spec, sample = spec_of("rgb", "flow"), Sample(film, "joy")
    prepared = ready([sample], spec, tmp_path)
    (clip,) = clips_in(tmp_path)
    content, before = clip.read_bytes(), prepared.load(sample)
    harm(clip)
    after = prepared.load(sample)
    np.testing.assert_array_equal(after.pictures[16, 12], before.pictures[16, 12])
    np.testing.assert_array_equal(after.flow[16, 12], before.flow[16, 12])
    assert len(clip.read_bytes()) == len(content)
    np.testing.assert_array_equal(prepared.load(sample).flow[16, 12], before.flow[16, 12])


@pytest.mark.parametrize("harm", [cut_off, empty])
def test_an_incomplete_clip_is_made_again_by_the_next_run(
    film: Path, tmp_path: Path, harm: Any
) -> None:
    sample = Sample(film, "joy")
    ready([sample], spec_of(), tmp_path)
    (clip,) = clips_in(tmp_path)
    size = clip.stat().st_size
    harm(clip)
    ready([sample], spec_of(), tmp_path)
    assert clip.stat().st_size == size


def test_files_left_by_killed_runs_are_deleted_but_not_those_of_other_runs(tmp_path: Path) -> None:
    old, new = (tmp_path / "clips" / "ab" / f".emoscope-{name}.npz" for name in ("old", "new"))
    for part in (old, new):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    ready([], spec_of(), tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_clip_and_recording_both_missing_is_one_line(film: Path, tmp_path: Path) -> None:
    sample = copies(film, tmp_path / "films", 1)[0]
    prepared = ready([sample], spec_of(), tmp_path / "cache")
    rot(clips_in(tmp_path / "cache")[0])
    sample.path.unlink()
    assert refusal(lambda: prepared.load(sample)).startswith(f"{sample.path}: no longer readable")


def test_a_full_disk_does_not_stop_a_training(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(film, "joy")
    prepared = ready([sample], spec_of(), tmp_path)
    before = prepared.load(sample).pictures[16, 12]
    cut_off(clips_in(tmp_path)[0])

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clip_cache.np, "savez", full)
    np.testing.assert_array_equal(prepared.load(sample).pictures[16, 12], before)


def test_another_recording_under_the_name_does_not_become_the_clip(
    film: Path, tmp_path: Path
) -> None:
    sample = copies(film, tmp_path / "films", 1)[0]
    prepared = ready([sample], spec_of(), tmp_path / "cache")
    (clip,) = clips_in(tmp_path / "cache")
    cut_off(clip)
    size = clip.stat().st_size
    make_video(sample.path, num_frames=5)
    prepared.load(sample)
    assert clip.stat().st_size == size


def test_unreadable_json_files_are_ignored(film: Path, tmp_path: Path) -> None:
    samples = [Sample(film, "joy"), Sample(make_text(tmp_path / "text.mp4"), "joy")]
    ready(samples, spec_of(), tmp_path / "cache")
    for note in (tmp_path / "cache").rglob("*.json"):
        cut_off(note)
    again = ready(samples, spec_of(), tmp_path / "cache")
    assert (len(again.samples), len(again.failures)) == (1, 1)
