"""98.8 % under which protocol? What a split of augmented clips adds, on SYNTHETIC walking figures.

    python benchmarks/inflation.py [--subjects 10] [--clips 3] [--set KEY=VALUE ...]

The recipes of recipes/deformable-convlstm, four systems under two protocols: 80/20 of augmented
clips, where variants of one clip and every person stand on both sides, and each person left out in
turn. Systems are small and everything is SYNTHETIC (`emoscope corpus synth --kind figures`): four
classes, arms raised or a slump, each sudden or gradual; chance is 25 %. Both protocols train
equally long, with the same augmentation.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from measuring import CACHE, machine, spread

from emoscope.corpora.synthetic.corpus import synthesise
from emoscope.training.experiment import train
from emoscope.training.papers.leakage import inflation_table
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder

RECIPES = Path(__file__).parents[1] / "recipes" / "deformable-convlstm"
SHORT = {
    "optimiser.lr": "3e-4",  # at 1e-3 and more the networks often learn nothing
    "schedule.iterations": "1200",
    "schedule.precision": "32-true",  # so narrow a network gains nothing from less
}
BODY = "{ width = 0.125, hidden = [256], frames = 12, size_px = 48 }"
SMALL = {
    "deformable-convlstm": {"model.options": BODY, **SHORT},
    "single-frame": {"model.options": "{ width = 0.0625, size_px = 128 }", **SHORT},
    "hog-klt": {},
    "mbmic": {},
}
VARIANTS = "20"  # of a clip
SEED = 1  # of the corpus: the estimators' settings were chosen on that of seed 0


def last_losses(run: RunFolder) -> str:
    """Median (smallest to largest) of the final losses, to check that every training converged."""
    ends = [float(history[-1]["loss"]) for history in run.histories().values() if history]
    return f"{run.info['name']} {spread(ends, '.2f')}" if ends else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun_s = time.monotonic()
    corpus = CACHE / f"synthetic-figures-{options.subjects}-{options.clips}-{SEED}"
    manifest = synthesise(
        corpus, kind="figures", subjects=options.subjects, clips=options.clips, seed=SEED
    )
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for name, small in SMALL.items():
            for path in sorted(RECIPES.glob(f"{name}-gemep-*.toml")):
                changes = {"corpus.name": "synthetic", **small}
                if Recipe.read(path).protocol.name == "augmented-random-80-20":
                    changes["protocol.variants"] = VARIANTS
                changes |= dict(text.split("=", 1) for text in options.set)
                recipe, out = Recipe.read(path, changes), Path(folder) / path.stem
                runs.append(train(recipe, {"synthetic": corpus}, out, cache=CACHE / "clips"))
        table = inflation_table(runs).markdown()
        losses = [text for run in runs if (text := last_losses(run))]
    print(table.partition("\n\n")[2])
    print(f"\nLoss of the last epoch, over folds: {'; '.join(losses)}.")
    print(
        f"\nSYNTHETIC: {len(manifest.samples)} clips of {options.subjects} drawn people, "
        f"{len(manifest.labels)} classes, chance {1 / len(manifest.labels):.0%}; {VARIANTS} "
        f"variants a clip. {(time.monotonic() - begun_s) / 60:.0f} minutes. {machine()}."
    )


if __name__ == "__main__":
    main()
