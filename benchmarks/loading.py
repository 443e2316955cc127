"""Clips a second from one worker: cached and augmented, against building them from the video.

    python benchmarks/loading.py [--repeats 5] [--clips 128]

A clip is 4 s of 720p film with one face; the model takes 32 RGB frames of 112 x 112. Cached clips
are read, augmented by everything there is, and normalised; with temporal jitter all frames of a
clip are cached, and 32 of them drawn. Building is decoding, finding the face (haar), cutting and
normalising, without augmentation. Both run in the one worker of a torch DataLoader, in batches of
4; its start is not counted, OpenCV and torch have one thread.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
from measuring import face_film, machine, spread, table
from torch.utils.data import DataLoader

from emoscope.core.clipspec import ClipSpec, Stream, Uniform
from emoscope.corpora.cutting import Cutting, cut
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import prepare
from emoscope.media.clips import Material
from emoscope.training.augment import Augmentation
from emoscope.training.networks.dataset import ClipDataset, EpochSampler

WANTED_CLIPS, WANTED_RATIO = 20, 10
BATCH, FILMS = 4, 4
EVERYTHING = Augmentation(
    flip=0.5,
    rotate_deg=30,
    scale=(0.9, 1.1),
    shift=0.05,
    brightness=0.2,
    contrast=0.2,
    blur=0.2,
    gaussian_blur=(0.0, 0.005, 0.01),
    erase=0.5,
)


def spec_of(jitter: bool) -> ClipSpec:
    stream = Stream(kind="rgb", size_hw=(112, 112))
    return ClipSpec(margin=0.1, sampling=Uniform(length=32, jitter=jitter), streams=(stream,))


def films(folder: Path) -> list[Sample]:
    """A few films of the same pictures and different bytes."""
    source = face_film(seconds=4)
    samples = []
    for i in range(FILMS):
        path = folder / f"{i}.mp4"
        shutil.copy(source, path)
        with path.open("ab") as film:
            film.write(b"%d" % i)
        samples.append(Sample(path, "joy"))
    return samples


def built(how: Cutting, sample: Sample) -> Material:
    """Cut a clip's material without a cache."""
    material = cut(sample, how).material
    assert material is not None
    return material


def rate(dataset: ClipDataset) -> float:
    """Clips a second, from the first batch on."""
    loader: DataLoader[object] = DataLoader(
        dataset,
        batch_size=BATCH,
        sampler=EpochSampler(len(dataset), seed=0),
        num_workers=1,
    )
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    count = sum(BATCH for _ in batches)
    return count / (time.perf_counter() - start)


def datasets(samples: Sequence[Sample], cache: Path, clips: int) -> dict[str, ClipDataset]:
    """Cached ones see `clips` clips, the one that builds sees as many as there are films."""
    made = {}
    for name, jitter in (("cached", False), ("cached, temporal jitter", True)):
        spec = spec_of(jitter)
        prepared = prepare(samples, spec, cache)
        many = [samples[i % FILMS] for i in range(clips)]
        whole = prepared.how.keeps_all
        made[name] = ClipDataset(many, ("joy",), spec, prepared.load, EVERYTHING, whole=whole)
    build = partial(built, Cutting(spec_of(False)))
    made["built from the video"] = ClipDataset(
        [*samples] * 2, ("joy",), spec_of(False), build, whole=False
    )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clips", type=int, default=128)
    args = parser.parse_args()
    cv2.setNumThreads(1)  # here: in a forked worker it would wait for threads that are not there
    with tempfile.TemporaryDirectory() as folder:
        samples = films(Path(folder))
        made = datasets(samples, Path(folder) / "cache", args.clips)
        runs = [
            {name: rate(dataset) for name, dataset in made.items()} for _ in range(args.repeats)
        ]
    rows = [
        [
            name,
            spread([run[name] for run in runs], ".1f"),
            spread([run[name] / run["built from the video"] for run in runs], ".1f"),
        ]
        for name in made
    ]
    print(table(["clips", "clips a second", "times the rate of building"], rows))
    print(
        f"\nWanted of cached clips: >= {WANTED_CLIPS} clips a second, >= {WANTED_RATIO} times the "
        f"rate of building. {args.repeats} repeats, median (min to max). {machine()}."
    )


if __name__ == "__main__":
    main()
