"""Eight emotions from RAVDESS's voices, by actors that were not heard: eGeMAPS, an SVC, a forest.

    python benchmarks/voice.py [--ravdess DIR]

The recipes of recipes/ for RAVDESS: five folds of whole actors. "Chosen" settings are chosen anew
in each training side, by inner folds of its actors; the SVC's defaults were chosen once with all of
these actors, and the line below them tells what such a choice is worth to somebody who had never
seen them. `voice-ravdess` is the model that packages/emoscope-voice ships.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from measuring import CACHE, machine, table, unpacked

from emoscope.training.estimators.search import words
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.experiment import train
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
KERNELS = (
    '[{kernel = ["linear"], C = [0.003, 0.01, 0.03, 0.1]}, {kernel = ["rbf"], C = [0.3, 1, 3, 10]}]'
)
RUNS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("SVC, its defaults", "ravdess-egemaps-svc", {}),
    ("SVC, kernel and C chosen", "ravdess-egemaps-svc", {"model.search": KERNELS}),
    (
        "SVC, the settings of Fan & Ke",
        "ravdess-egemaps-svc",
        {"model.options": "{scale = false, C = 2.7e-6, balanced = false}"},
    ),
    ("`voice-ravdess`: linear SVC, C chosen", "voice-ravdess", {}),
    ("forest, split size chosen", "ravdess-egemaps-rf", {}),
    (
        "forest, the settings of Fan & Ke",
        "ravdess-egemaps-rf",
        {"model.options": "{min_samples_split = 28, balanced = false}", "model.search": "[]"},
    ),
)


def line(name: str, run: RunFolder) -> list[str]:
    figures = evaluate(run.folder)["figures"]
    low, high = figures["uar_ci95"]
    chosen = Counter(words(fold["chosen"]) for fold in run.results() if "chosen" in fold)
    return [
        name,
        f"{figures['uar']:.1%} ({low:.1%} to {high:.1%})",
        f"{figures['accuracy']:.1%}",
        "; ".join(f"{count} x {settings}" for settings, count in chosen.most_common()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--ravdess", type=Path)
    corpus = parser.parse_args().ravdess or unpacked("ravdess")
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, file, changes in RUNS:
            recipe = Recipe.read(ROOT / "recipes" / f"{file}.toml", changes)
            out = Path(folder) / str(len(rows))
            run = train(recipe, {"ravdess": corpus}, out, cache=CACHE / "clips")
            rows.append(line(name, run))
        people = len({sample.subject for sample in run.samples})
    print(table(("settings", "UAR", "accuracy", "chosen in the folds"), rows))
    print(
        f"\n{len(run.samples):,} clips of {people} actors, 8 classes, 5 folds of whole actors; "
        f"95 % intervals over actors. {machine()}."
    )


if __name__ == "__main__":
    main()
