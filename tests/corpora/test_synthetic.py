from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from refusing import refusal

from emoscope.core.errors import UnknownName
from emoscope.corpora.manifest import digest
from emoscope.corpora.readers.manifest import read_manifest
from emoscope.corpora.synthetic import corpus as module
from emoscope.corpora.synthetic.corpus import KINDS, synthesise
from emoscope.corpora.synthetic.motion import Dynamics, Syllable, act, intensity, speaking
from emoscope.corpora.synthetic.sound import RATE_HZ, Voice, speech
from emoscope.media.video import probe, read_frames

TINY = {"subjects": 2, "clips": 1, "seconds": 0.5, "size_px": 32}
TINY_FIGURES = TINY | {"kind": "figures"}  # fewer labels


def clips(folder: Path) -> dict[str, str]:
    """The digest of every film below a folder, by its place."""
    return {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*.mp4"))}


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_same_settings_give_the_same_bytes_and_another_seed_gives_others(
    tmp_path: Path, kind: str
) -> None:
    for folder, seed in (("one", 3), ("two", 3), ("other", 4)):
        synthesise(tmp_path / folder, kind=kind, seed=seed, **TINY)
    one, two, other = (clips(tmp_path / folder) for folder in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert set(one.values()).isdisjoint(other.values())
    assert len(set(one.values())) == len(one)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_manifest_has_labels_subjects_and_groups(tmp_path: Path, kind: str) -> None:
    manifest = synthesise(tmp_path, kind=kind, **TINY)
    assert manifest.corpus == f"synthetic-{kind}"
    assert manifest.labels == tuple(sorted(KINDS[kind].parts))
    assert manifest.counts("label") == dict.fromkeys(manifest.labels, 2)
    assert manifest.counts("subject") == dict.fromkeys(("S001", "S002"), len(manifest.labels))
    people = {sample.subject: sample.groups for sample in manifest.samples}
    assert all(sample.groups == people[sample.subject] for sample in manifest.samples)
    assert {"light", "voice"} < set(people["S001"])


def test_the_folder_may_be_moved(tmp_path: Path) -> None:
    made = synthesise(tmp_path / "here", **TINY)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = read_manifest(tmp_path / "there" / "manifest.csv")
    assert moved.labels == made.labels
    assert [s.groups for s in moved.samples] == [s.groups for s in made.samples]
    assert all(s.path.is_relative_to(tmp_path / "there") for s in moved.samples)
    assert not moved.left_out


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_frames", [13, 50, 100])
def test_gradual_is_sudden_reversed(num_frames: int, seed: int) -> None:
    sudden = intensity(rng(seed), "sudden", num_frames)
    gradual = intensity(rng(seed), "gradual", num_frames)
    assert np.array_equal(np.sort(sudden), np.sort(gradual))  # the same bag of frames
    assert np.array_equal(sudden, gradual[::-1])
    assert sudden[0] == sudden[-1] == 0
    assert 0.75 < sudden.max() <= 1
    rising, falling = (np.diff(sudden) > 0).sum(), (np.diff(sudden) < 0).sum()
    assert falling >= 2 * rising


@pytest.mark.parametrize("dynamics", ["sudden", "gradual", "even"])
def test_the_apex_is_equally_often_on_either_side_of_the_middle(dynamics: Dynamics) -> None:
    clips = [intensity(rng(seed), dynamics, 101) for seed in range(400)]
    apexes = [np.median(np.flatnonzero(clip == clip.max())) for clip in clips]
    assert abs(np.mean(apexes) - 50) < 0.6
    assert np.std(apexes) > 2


def test_speech_opens_the_mouth_as_much_early_as_late() -> None:
    openings = []
    for seed in range(400):
        acting = act(rng(seed), "smile", "sudden", 2.0)
        openings.append(speaking(acting.syllables, acting.times_s + 0.02))
    early_and_late = np.mean(openings, axis=0).reshape(5, 10).mean(axis=1)
    np.testing.assert_allclose(early_and_late, early_and_late.mean(), rtol=0.08)


def test_a_harsh_voice_is_brighter_than_a_warm_one_of_the_same_person() -> None:
    spoken = (Syllable(0.0, 0.3, 1.0, 0.5), Syllable(0.3, 0.6, 0.8, 0.2))
    person = Voice(pitch_hz=120, tract=1.0, tilt_db=0.0)
    centres_hz = {}
    for style in ("warm", "harsh"):
        power = np.abs(np.fft.rfft(speech(rng(1), person, style, spoken, 0.6))) ** 2
        freqs_hz = np.fft.rfftfreq(round(0.6 * RATE_HZ), 1 / RATE_HZ)
        centres_hz[style] = (freqs_hz * power).sum() / power.sum()
    assert centres_hz["harsh"] > 1.5 * centres_hz["warm"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_clip_holds_its_frames_and_its_sound(tmp_path: Path, kind: str) -> None:
    path = synthesise(tmp_path, kind=kind, **TINY).samples[0].path
    frames = list(read_frames(path))
    assert [frame.rgb.shape for frame in frames] == 12 * [(32, 32, 3)]
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(12) / 25, atol=1e-6)
    assert probe(path).codec == "h264"
    with av.open(str(path)) as container:
        (track,) = container.streams.audio
        assert (track.codec_context.name, track.rate) == ("aac", RATE_HZ)
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(track)])
    assert len(sound) / RATE_HZ == pytest.approx(0.48, abs=0.1)
    assert 0.02 < np.sqrt((sound**2).mean()) < 0.3


@pytest.mark.parametrize(
    ("kind", "apex"),
    sorted({(kind, part.apex) for kind in KINDS for part in KINDS[kind].parts.values()}),
)
def test_an_expression_is_visible_exactly_while_its_intensity_is_not_zero(
    kind: str, apex: str
) -> None:
    acting = act(rng(1), apex, "even", 1.0)
    calm = replace(acting, intensity=0 * acting.intensity)
    person = KINDS[kind].draw(rng(2))
    shown, at_rest = (
        np.stack(list(person.film(rng(3), what, 48))).astype(float) for what in (acting, calm)
    )
    changed = (np.abs(shown - at_rest) > 20).any(axis=-1).mean(axis=(1, 2))  # share of a frame
    assert not changed[acting.intensity == 0].any()
    assert changed[acting.intensity > 0.7].min() > 0.01


def test_a_second_run_draws_only_missing_clips(tmp_path: Path) -> None:
    synthesise(tmp_path, **TINY)
    before = clips(tmp_path)
    gone = tmp_path / "S002" / "gape-warm" / "1.mp4"
    kept = tmp_path / "S001" / "gape-warm" / "1.mp4"
    gone.unlink()
    kept.write_bytes(b"kept as it is")
    synthesise(tmp_path, **TINY)
    assert kept.read_bytes() == b"kept as it is"
    assert clips(tmp_path) | {"S001/gape-warm/1.mp4": before["S001/gape-warm/1.mp4"]} == before


def test_a_corpus_drawn_in_two_runs_equals_one_drawn_at_once(tmp_path: Path) -> None:
    synthesise(tmp_path / "grown", **TINY_FIGURES)
    grown = synthesise(tmp_path / "grown", **TINY_FIGURES | {"clips": 2})
    synthesise(tmp_path / "whole", **TINY_FIGURES | {"clips": 2})
    assert clips(tmp_path / "grown") == clips(tmp_path / "whole")
    assert len(set(clips(tmp_path / "grown").values())) == len(grown.samples) == 16


def test_an_interrupted_run_leaves_complete_clips_only_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, made = module._encode_sound, []

    def interrupted(*args: object) -> None:
        made.append(args)
        if len(made) == 3:
            raise KeyboardInterrupt
        encode(*args)

    monkeypatch.setattr(module, "_encode_sound", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path / "cut", **TINY_FIGURES)
    files = [p for p in (tmp_path / "cut").rglob("*") if p.is_file()]
    assert sorted(p.name for p in files) == ["1.mp4", "1.mp4", "synthetic.json"]
    synthesise(tmp_path / "cut", **TINY_FIGURES)
    synthesise(tmp_path / "whole", **TINY_FIGURES)
    assert clips(tmp_path / "cut") == clips(tmp_path / "whole")


def test_progress_is_reported_after_every_clip(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def report(done: int, total: int) -> None:
        calls.append((done, total))

    for _ in range(2):  # the second time, all are there
        synthesise(tmp_path, progress=report, **TINY_FIGURES)
    assert calls == 2 * [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"subjects": 1}, "subjects = 1: choose a value from 2"),
        ({"clips": 0}, "clips = 0"),
        ({"seconds": 0.4}, "seconds = 0.4: choose a value from 0.5"),
        ({"seconds": float("nan")}, "seconds = nan"),
        ({"size_px": 30}, "size_px = 30"),
        ({"size_px": 65}, "size_px = 65: H.264 needs an even number"),
        ({"seed": -1}, "seed = -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_settings_are_refused(
    tmp_path: Path, setting: dict[str, float], complaint: str
) -> None:
    assert complaint in refusal(lambda: synthesise(tmp_path / "new", **TINY | setting))
    assert not (tmp_path / "new").exists()


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'faces'"):
        synthesise(tmp_path, kind="face", **TINY)


def test_clips_of_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    synthesise(tmp_path, **TINY_FIGURES)
    message = refusal(lambda: synthesise(tmp_path, seed=1, **TINY_FIGURES))
    assert "synthetic.json: the folder holds clips made with" in message
    assert "'seed': 0" in message
    (tmp_path / "synthetic.json").write_text("{")
    assert "cannot be read" in refusal(lambda: synthesise(tmp_path, **TINY_FIGURES))
