"""Helpers that tests of `prepare` share: `from preparing import ready, spec_of`."""

from pathlib import Path
from typing import Any

import numpy as np
from making import make_video

from emoscope.core.clipspec import ClipSpec, Last, Sampling, Stream
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Prepared, prepare
from emoscope.media.clips import Clip, build_clip
from emoscope.media.video import read_frames


def make_film(path: Path) -> Path:
    """20 frames, a bright square that moves over a pattern, a second of sound."""
    rows, columns = np.mgrid[:48, :64]

    def picture(index: int) -> Any:
        rgb = np.stack([rows * 4, columns * 3, rows + columns], axis=-1).astype(np.uint8)
        rgb[8:28, 2 * index : 2 * index + 20] = 250
        return rgb

    return make_video(path, num_frames=20, picture=picture, sound_s=1.0)


def spec_of(*kinds: Any, sampling: Sampling = Last(length=3), **settings: Any) -> ClipSpec:
    streams = [Stream(kind=kind, size_hw=(16, 12)) for kind in kinds or ("rgb",)]
    return ClipSpec(sampling=sampling, streams=tuple(streams), **{"region": "frame", **settings})


def copies(film: Path, folder: Path, count: int) -> list[Sample]:
    """The film under several names, each with bytes of its own."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i}.mp4").write_bytes(film.read_bytes() + b"%d" % i)
    return [Sample(folder / f"{i}.mp4", "joy" if i % 2 else "fear") for i in range(count)]


def clips_in(cache: Path) -> list[Path]:
    return sorted(cache.glob("clips/*/[!.]*.npz"))


def ready(
    samples: Any, spec: ClipSpec, cache: Path, detector: str = "none", **how: Any
) -> Prepared:
    return prepare(samples, spec, cache, detector=detector, workers=1, **how)


def built(sample: Sample, spec: ClipSpec) -> dict[str, Any]:
    """The road that analysis takes."""
    frames = list(read_frames(sample.path, start_s=sample.start_s, end_s=sample.end_s))
    return build_clip(Clip([f.rgb for f in frames], [f.time_s for f in frames]), spec)
