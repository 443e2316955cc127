"""Cost of adding a voice to a face: CPU time of `face-voice` over that of `face-ferplus`.

    python benchmarks/system.py [--repeats 5] [--clip FILE] [--ravdess ARCHIVE]

The film is put together: the pictures of a clip with one face, scaled up to 1280 x 720 (H.264, 3
Mbit/s), and sentences of one of RAVDESS's actors, end to end (AAC, 48 kHz, stereo). The lips do not
follow the words, which costs nothing. CPU seconds are of all threads and a whole `analyze`, opening
the models included; the models take turns, and a ratio is of one repeat. What is added is then
measured part by part on the same film.
"""

import argparse
import itertools
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from measuring import CACHE, machine, spread, table

from emoscope import Timeline, analyze
from emoscope.analysis.alignment import MemberPredictions, combine, voice_during
from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.fusion import average
from emoscope.analysis.system import System, SystemAnalyzer
from emoscope.core.clipspec import Window
from emoscope.core.options import AnalyzeOptions
from emoscope.media.files import replacing
from emoscope.media.sound.audio import Sound, read_sound
from emoscope.media.sound.egemaps import egemaps
from emoscope.media.video import probe, read_frames

SHARED = Path(__file__).parents[2] / "shared"
CLIP = SHARED / "clips" / "pyfeat_WolfgangLanger_Pexels.mp4"
ARCHIVE = SHARED / "data" / "ravdess-speech-actors01-20.tar"
ACTOR = "Actor_02"
SECONDS, SIZE, SOUND_HZ, FRAME = 16, (1280, 720), 48_000, 1024
FACE, BOTH = "face-ferplus", "face-voice"
WINDOW = Window(length_s=2.0, stride_s=1.0)  # which the wanted ratio is of
WANTED = 1.3


def talking_film(clip: Path, archive: Path) -> Path:
    """The film, made once."""
    path = CACHE / f"talking-{clip.stem}.mp4"
    if path.is_file():
        return path
    CACHE.mkdir(exist_ok=True)
    with replacing(path) as part, av.open(str(part), "w", format="mp4") as film:
        picture = film.add_stream("libx264", rate=Fraction(probe(clip).fps).limit_denominator(1001))
        (picture.width, picture.height), picture.pix_fmt = SIZE, "yuv420p"
        picture.bit_rate, picture.options = 3_000_000, {"preset": "veryfast"}
        sound = film.add_stream("aac", rate=SOUND_HZ, layout="stereo")
        for seen in read_frames(clip, end_s=SECONDS):
            large = cv2.resize(seen.rgb, SIZE, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
            film.mux(picture.encode(VideoFrame.from_ndarray(large, format="rgb24")))
        film.mux(picture.encode())
        for heard in talk(archive):
            film.mux(sound.encode(heard))
        film.mux(sound.encode())
    return path


def talk(archive: Path) -> Iterator[AudioFrame]:
    """An actor's sentences, as long as the film."""
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory() as folder:
        tar.extractall(folder, [each for each in tar if ACTOR in each.name], filter="data")
        names = itertools.islice(sorted(Path(folder).rglob("*.flac")), SECONDS)
        said = np.concatenate([read_sound(name, rate_hz=SOUND_HZ).samples for name in names])
    for at in range(0, SECONDS * SOUND_HZ, FRAME):
        both = np.repeat(said[None, at : at + FRAME], 2, axis=0)
        frame = AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, at, Fraction(1, SOUND_HZ)
        yield frame


def cut_by(window: Window) -> System:
    """`face-voice`, the sound cut by this window."""
    system = System.read(BOTH)
    members = [
        one if one.model == FACE else one.model_copy(update={"window": window})
        for one in system.members
    ]
    return system.model_copy(update={"members": tuple(members)})


def told(window: Window) -> str:
    return f"{BOTH}, {window.length_s:g} s every {window.stride_s:g} s"


def cpu_s(job: Callable[[], object]) -> float:
    begun_s = time.process_time()
    job()
    return time.process_time() - begun_s


def totals(film: Path, repeats: int) -> list[list[str]]:
    """Rows of CPU seconds, and of what they are to those of the face alone."""
    models: dict[str, str | System] = {FACE: FACE}
    models[told(WINDOW)] = cut_by(WINDOW)
    shipped = System.read(BOTH).members[1].window
    assert shipped is not None  # the file says one
    models[f"{told(shipped)}: as it ships"] = BOTH
    took: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, model in models.items():
            cost_s = cpu_s(lambda model=model: analyze(film, model))  # type: ignore[misc]
            if turn:  # the first warms up
                took[name].append(cost_s)
    return [
        [name, spread(own), spread([a / b for a, b in zip(own, took[FACE], strict=True)])]
        for name, own in took.items()
    ]


def parts(film: Path, repeats: int) -> list[list[str]]:
    """Rows of CPU milliseconds of all that the voice adds, in windows of WINDOW."""
    system = cut_by(WINDOW)
    both = SystemAnalyzer(system, AnalyzeOptions())
    (voice,) = (one for one in both.analyzers if not one.looks)
    rows, sound = both.looking.analyze(film), read_sound(film)
    heard = voice.analyze_sound(sound)
    jobs: tuple[tuple[str, Callable[[], object], Callable[[], object]], ...] = (
        ("opening the models", lambda: Analyzer(system), lambda: Analyzer(FACE)),
        ("decoding and resampling the sound", lambda: read_sound(film), lambda: None),
        ("eGeMAPS", lambda: features(sound), lambda: None),
        ("classifier, rows", lambda: voice.analyze_sound(sound), lambda: features(sound)),
        ("fusing", lambda: fused(rows, heard, system), lambda: None),
    )
    return [
        [name, spread([1000 * (cpu_s(job) - cpu_s(less)) for _ in range(repeats)], ".0f")]
        for name, job, less in jobs
    ]


def features(sound: Sound) -> None:
    """Those of every window, nothing else."""
    for start_s in np.arange(0, SECONDS, WINDOW.stride_s).tolist():
        egemaps(sound.between(start_s, start_s + WINDOW.length_s), sound.rate_hz)


def fused(rows: Timeline, heard: Timeline, system: System) -> Timeline:
    face, voice = system.members
    predictions = [
        MemberPredictions(face.model, "face", rows.labels, rows.probs),
        MemberPredictions(
            voice.model, "voice", heard.labels, voice_during(rows.spans_s, heard), voice.maps
        ),
    ]
    return combine(rows, predictions, system.label_names, average)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--ravdess", type=Path, default=ARCHIVE)
    args = parser.parse_args()
    film = talking_film(args.clip, args.ravdess)
    print(table(("", "CPU-s", f"over {FACE}"), totals(film, args.repeats)))
    print(f"\nOf what windows of {WINDOW.length_s:g} s every {WINDOW.stride_s:g} s add:\n")
    print(table(("part", "CPU-ms"), parts(film, args.repeats)))
    print(
        f"\nWanted: {told(WINDOW)} <= {WANTED}. The film: {SECONDS} s of {args.clip.stem}'s "
        f"pictures scaled to {SIZE[0]} x {SIZE[1]} (3 Mbit/s), sentences of a RAVDESS actor as its "
        f"sound; looked at 10 times a second. {args.repeats} repeats, median (min to max). "
        f"{machine()}."
    )


if __name__ == "__main__":
    main()
