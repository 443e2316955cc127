"""eGeMAPS: our rate beside that of openSMILE's own command.

    python benchmarks/egemaps.py [--repeats 5] [--clips 16]

Seconds of sound a second of process time, on one thread, the two in turns; a ratio is of one
repeat. openSMILE's wheel holds no SMILExtract: the command's side is its library with the command's
own configuration, WAV in and CSV out, a run a file, without the start of a process. Ours, clip by
clip, is what `emoscope corpus prepare` does of a recording: decode, resample, measure. Over time it
is all of `analyze` by a voice model: windows of 2 s, one every second of sound that is decoded
once; there the command gets each window as a file, and the seconds are those of the windows.
"""

import argparse
import tempfile
import time
import wave
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import opensmile
from measuring import machine, spread, table, unpacked
from opensmile.core.lib import OpenSMILE

from emoscope import Analyzer
from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.core.clipspec import ClipSpec, Vector, Window
from emoscope.corpora.cutting import Cutting, cut
from emoscope.corpora.manifest import Sample
from emoscope.media.sound.audio import RATE_HZ, read_sound

Work = tuple[Callable[[Path], object], Sequence[Path]]
FloatArray = npt.NDArray[np.floating]
WINDOW = Window(length_s=2.0, stride_s=1.0)
SMILE = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
SHARED = Path(SMILE.default_config_root) / "shared"
COMMAND = {
    "source": SHARED / "standard_wave_input.conf.inc",
    "sink": SHARED / "standard_data_output_no_lld_de.conf.inc",
}
CLIP = Cutting(ClipSpec(streams=(Vector(kind="egemaps"),)))


def command(path: Path, csv: Path) -> None:
    """SMILExtract -C eGeMAPSv02.conf -I path -csvoutput csv."""
    run = OpenSMILE()
    options = {**COMMAND, "filename": path, "func_csv_output": csv}
    run.initialize(SMILE.config_path, options)
    run.run()
    run.free()


def functionals(csv: Path) -> FloatArray:
    """(88,), as the command has written them."""
    return np.array([float(cell) for cell in csv.read_text().splitlines()[1].split(";")[1:]])


def written(path: Path, samples: FloatArray) -> Path:
    """16 bits, mono."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.round(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
    return path


def measured(path: Path) -> FloatArray:
    """(88,), as a corpus's clips are prepared."""
    material = cut(Sample(path, "any"), CLIP).material
    assert material is not None
    return material.vectors["egemaps"]


def took_s(call: Callable[[Path], object], paths: Iterable[Path]) -> float:
    begun_s = time.process_time()
    for path in paths:
        call(path)
    return time.process_time() - begun_s


def row(name: str, ours: Work, theirs: Work, seconds: float, repeats: int) -> list[str]:
    """Both rates, and ours over theirs."""
    both = [(seconds / took_s(*ours), seconds / took_s(*theirs)) for _ in range(repeats)]
    mine, command_s = zip(*both, strict=True)
    ratio = spread([a / b for a, b in both])
    return [name, spread(mine, ".0f"), spread(command_s, ".0f"), ratio]


def listening() -> Bundle:
    """The voice model that ships, with windows of 2 s."""
    bundle = load_bundle("voice-ravdess")
    spec = bundle.clip_spec.model_copy(update={"window": WINDOW})
    return replace(bundle, card=bundle.card.model_copy(update={"clip_spec": spec}))


def windows_of(talk: FloatArray, folder: Path) -> list[Path]:
    size, step = (round(each * RATE_HZ) for each in (WINDOW.length_s, WINDOW.stride_s))
    starts = range(0, len(talk) - size + 1, step)
    return [written(folder / f"window{at}.wav", talk[at : at + size]) for at in starts]


def difference(files: Iterable[Path], csv: Path) -> float:
    """The largest between the two's features, as a share of the feature."""
    worst = 0.0
    for path in files:
        csv.unlink(missing_ok=True)
        command(path, csv)
        expected = functionals(csv)
        of = expected != 0
        worst = max(worst, float(np.abs(measured(path)[of] / expected[of] - 1).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clips", type=int, default=16)
    args = parser.parse_args()
    names = sorted(unpacked("ravdess").rglob("*.flac"))
    sounds = [read_sound(path).samples for path in names[:: len(names) // args.clips]]
    talk = np.concatenate(sounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [written(folder / f"{i}.wav", sound) for i, sound in enumerate(sounds)]
        film, windows = written(folder / "talk.wav", talk), windows_of(talk, folder)
        analyzer, csv = Analyzer(listening()), folder / "out.csv"
        smile = partial(command, csv=csv)
        worst = difference(files, csv)
        talk_s, heard_s = len(talk) / RATE_HZ, len(windows) * WINDOW.length_s
        rows = [
            row("clip by clip", (measured, files), (smile, files), talk_s, args.repeats),
            row("over time", (analyzer.analyze, [film]), (smile, windows), heard_s, args.repeats),
        ]
    print(table(("", "ours, s/s", "the command, s/s", "ours / the command"), rows))
    print(
        f"\n{len(files)} clips of together {talk_s:.0f} s, {len(windows)} windows; medians (lowest "
        f"to highest) of {args.repeats}. The features differ by {worst:.0e} of their value at "
        f"most. {machine()}."
    )


if __name__ == "__main__":
    main()
