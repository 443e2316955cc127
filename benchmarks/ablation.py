"""Do the skips help? Rows (a) to (e) of the enhanced ConvLSTM's ablation, on SYNTHETIC faces.

    python benchmarks/ablation.py [--subjects 40] [--clips 2] [--set KEY=VALUE ...]

The recipes of recipes/enhanced-convlstm but for the paper's corpus: everything here is SYNTHETIC,
drawn talking faces (`emoscope corpus synth`), a smile or a frown, each sudden or gradual. Networks
are of a sixteenth of the width and see 8 frames of 48 px, judged on people that none has seen.
A row of several seeds answers with the mean of their probabilities where two rows are compared.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from measuring import CACHE, machine, table
from synthetic import PAIRS, dynamics

from emoscope.corpora.synthetic.corpus import synthesise
from emoscope.training.evaluation.compare import compare
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.evaluation.tables import with_interval
from emoscope.training.experiment import train
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder, read_run

RECIPES = Path(__file__).parents[1] / "recipes" / "enhanced-convlstm"
SIZE = {"width": "0.0625", "size_px": "48", "frames": "8"}
ROWS = {
    "(a)": "resnet-streams",
    "(b)": "convlstm-streams",
    "(c)": "enhanced-streams",
    "(d)": "convlstm-resnet",
    "(e)": "four-stream",
}
SKIPS = (("(b)", "(c)"), ("(d)", "(e)"))  # without and with them
SMALL = {
    "corpus.name": "synthetic",
    "corpus.labels": str([label for pair in PAIRS for label in pair]),
    "protocol": "{ name = 'stratified-group-holdout', part = 0.3 }",
    "seeds": "[0, 1]",
    "augmentation": "{ flip = 0.5, shift = 0.06 }",
    "optimiser": "{ name = 'adamw', lr = 5e-4, weight_decay = 0.01 }",
    "schedule": "{ epochs = 24, batch_size = 16, decay = 'one-cycle' }",
    **{f"model.options.{key}": value for key, value in SIZE.items()},
}


def row(name: str, run: RunFolder, wall_s: float) -> list[str]:
    figures = evaluate(run.folder)["figures"]
    share, (low, high), _ = dynamics(run.predictions())
    return [
        name,
        run.recipe.name.removesuffix("-enterface05"),
        f"{run.info['parameters']:,}",
        with_interval(figures, "accuracy"),
        f"{share:.1%} ({low:.1%} to {high:.1%})",
        f"{wall_s:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    changes = SMALL | dict(text.split("=", 1) for text in options.set)
    torch.set_num_threads(1)
    corpus = CACHE / f"synthetic-faces-{options.subjects}"
    synthesise(corpus, subjects=options.subjects, clips=options.clips)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        outs = {name: Path(folder) / stem for name, stem in ROWS.items()}
        for name, out in outs.items():
            recipe = Recipe.read(RECIPES / f"{out.name}-enterface05.toml", changes)
            before_s = time.monotonic()
            train(recipe, {"synthetic": corpus}, out, cache=CACHE / "clips")
            rows.append(row(name, read_run(out), time.monotonic() - before_s))
        compared = [compare([outs[a], outs[b]]).pairs[0] for a, b in SKIPS]
    header = ("row", "SYNTHETIC", "parameters", "accuracy of 4", "sudden or gradual", "seconds")
    print(table(header, rows))
    for (without, with_skips), pair in zip(SKIPS, compared, strict=True):
        found = pair.difference
        assert found is not None  # both judged the same clips
        print(
            f"\n{with_skips} less {without}: {100 * found.difference:+.1f} points of UAR "
            f"({100 * found.low:+.1f} to {100 * found.high:+.1f}), p = {found.p:.2f}, paired over "
            f"people, {pair.clips} clips: the skips {verdict(found.low, found.high)}."
        )
    print(
        "\nChance is 25 %, the best of a single frame 50 %; of sudden or gradual chance is 50 %. "
        f"95 % intervals over the people judged. {machine()}."
    )


def verdict(low: float, high: float) -> str:
    if low > 0:
        return "help here"
    return "harm here" if high < 0 else "make no difference that so few people could show"


if __name__ == "__main__":
    main()
