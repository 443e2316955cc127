"""The voice goes to the face whose mouth moves with it, on drawn faces."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounding import write_wav
from tiny_bundles import image_bundle, voice_bundle

from emoscope.analysis.analyzer import analyze
from emoscope.analysis.moments import Moment
from emoscope.analysis.speakers import Mouths
from emoscope.core.results import NO_TRACK, Box, Timeline
from emoscope.corpora.synthetic.faces import draw_face
from emoscope.corpora.synthetic.motion import FPS, Acting, act
from emoscope.corpora.synthetic.sound import RATE_HZ, draw_voice, speech
from emoscope.media.people.sightings import Sighting
from emoscope.media.sound.audio import Sound
from emoscope.media.video import Frame
from emoscope.media.writer import write_video

SECONDS = 4.0
LEFT, RIGHT = 1, 9  # tracks, and the seeds of what they do


def acted(seed: int) -> Acting:
    return act(np.random.default_rng(seed), "smile", "even", SECONDS)


def film(seed: int, size_px: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng((7, seed))
    return draw_face(rng).film(rng, acted(seed), size_px)


@pytest.fixture(scope="module")
def filmed() -> dict[int, list[np.ndarray]]:
    """Pictures of each face, about ten a second."""
    return {track: list(film(track, 96))[::3] for track in (LEFT, RIGHT)}


def spoken(seed: int) -> Sound:
    """The sound that goes with the mouth of an acting."""
    rng = np.random.default_rng((8, seed))
    sound = speech(rng, draw_voice(rng), "warm", acted(seed).syllables, SECONDS)
    return Sound(sound.astype(np.float32), RATE_HZ)


def moments(films: dict[int, list[np.ndarray]]) -> Iterator[Moment]:
    box = Box(0, 0, 96, 96)
    for i in range(len(films[LEFT])):
        seen = tuple(Sighting(track, box, films[track][i]) for track in films)
        yield Moment(i * 0.12, (i + 1) * 0.12, seen)


def rows(num: int, tracks: tuple[int, ...]) -> Timeline:
    """One row per face and moment."""
    n, start_s = num * len(tracks), np.repeat(np.arange(num) * 0.12, len(tracks))
    return Timeline(
        spans_s=np.column_stack([start_s, start_s + 0.12]),
        track=np.tile(tracks, num),
        boxes_xyxy=np.full((n, 4), np.nan),
        probs=np.full((n, 2), 0.5),
        modalities=np.full(n, "face"),
        labels=("a", "b"),
        padded=np.zeros(n, dtype=bool),
    )


def speaking(films: dict[int, list[np.ndarray]], sound: Sound) -> dict[int, float]:
    """Share of each face's rows that get the voice."""
    mouths = Mouths()
    for moment in moments(films):
        mouths.see(moment)
    timeline = rows(len(films[LEFT]), tuple(films))
    speaks = mouths.speaking(timeline, sound)
    return {track: float(speaks[timeline.track == track].mean()) for track in films}


@pytest.mark.parametrize(("speaker", "other"), [(LEFT, RIGHT), (RIGHT, LEFT)])
def test_the_face_that_moves_its_mouth_with_the_sound_speaks(
    filmed: dict[int, list[np.ndarray]], speaker: int, other: int
) -> None:
    """The same two videos with another sound."""
    shares = speaking(filmed, spoken(speaker))
    assert shares[speaker] > 0.95
    assert shares[other] < 0.05


def test_still_mouths_do_not_speak(filmed: dict[int, list[np.ndarray]]) -> None:
    still = {track: [film[0]] * len(film) for track, film in filmed.items()}
    assert speaking(still, spoken(LEFT)) == {LEFT: 0, RIGHT: 0}


def test_nobody_speaks_in_silence(filmed: dict[int, list[np.ndarray]]) -> None:
    silent = Sound(np.zeros(round(SECONDS * RATE_HZ), np.float32), RATE_HZ)
    assert speaking(filmed, silent) == {LEFT: 0, RIGHT: 0}


def test_a_row_without_a_face_keeps_the_sound() -> None:
    assert Mouths().speaking(rows(3, (NO_TRACK,)), spoken(LEFT)).all()


def test_a_face_that_was_seen_too_briefly_does_not_speak(
    filmed: dict[int, list[np.ndarray]],
) -> None:
    brief = {track: film[:7] for track, film in filmed.items()}
    assert speaking(brief, spoken(LEFT)) == {LEFT: 0, RIGHT: 0}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic people side by side; the left one speaks."""
    folder = tmp_path_factory.mktemp("pair")
    pictures = zip(*(film(track, 160) for track in (LEFT, RIGHT)), strict=True)
    frames = (Frame(np.hstack(both), k / FPS, k, 1 / FPS) for k, both in enumerate(pictures))
    sound = write_wav(folder / "left.wav", spoken(LEFT).samples)
    write_video(folder / "pair.mp4", frames, sound_from=sound)
    image_bundle(folder / "face.onnx", name="face")
    voice_bundle(folder / "voice.onnx", name="voice")
    (folder / "pair.toml").write_text(
        'name = "pair"\nlabels = ["dark", "middling", "bright"]\nspeaker = "mouth"\n'
        '[[members]]\nmodel = "face.onnx"\n[[members]]\nmodel = "voice.onnx"\n'
    )
    return folder


def test_in_a_video_of_two_faces_the_voice_goes_to_the_speaker(pair: Path) -> None:
    pytest.importorskip("opensmile")
    mouth = analyze(pair / "pair.mp4", pair / "pair.toml")
    everybody = analyze(pair / "pair.mp4", pair / "pair.toml", speaker="all")
    faces = mouth.track != NO_TRACK
    left = faces & (mouth.boxes_xyxy[:, 0] < 160)
    right = faces & ~left
    assert min(left.sum(), right.sum()) > 20
    both = mouth.modalities == "face+voice"
    assert both[left].mean() > 0.8
    assert both[right].mean() < 0.2
    assert set(everybody.modalities[faces].tolist()) == {"face+voice"}
    np.testing.assert_array_equal(mouth.probs[both], everybody.probs[both])
