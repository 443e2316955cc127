"""The laboratory's commands: what they take. Each imports what is heavy when it is called."""

from pathlib import Path
from typing import Annotated

import typer

from emoscope.apps.cli_options import Debug, End, Start, check_span, pair

__all__ = ["add_training_commands"]

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
Corpora = Annotated[
    list[str] | None,
    typer.Option("--corpus", help="NAME=DIR, once for each corpus.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting: schedule.epochs=2.", show_default=False),
]
Accelerator = Annotated[str, typer.Option(help="auto, cpu, gpu ... as Lightning names them.")]
Devices = Annotated[int, typer.Option(min=1, help="How many, each in a process of its own.")]
Nodes = Annotated[int, typer.Option(min=1, help="How many machines.")]
Strategy = Annotated[str, typer.Option(help="How they share the work: ddp ...")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that load clips; 0: none.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Where clips are kept, as of `corpus prepare`.", file_okay=False, show_default=False
    ),
]


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe (TOML).", show_default=False)
    ] = None,
    corpus: Corpora = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run's folder. By default runs/NAME.", show_default=False),
    ] = None,
    settings: Settings = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the run in this folder.", show_default=False),
    ] = None,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    workers: Workers = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log for TensorBoard, too.")
    ] = False,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Train a recipe, measure it, export its bundle.

    Every fold and seed of its protocol. A run that was stopped, however, goes on with --resume and
    ends as it would have.
    """
    from emoscope.apps.training import resume_run, train_recipe
    from emoscope.training.networks.fit import Hardware

    hardware = Hardware(accelerator, devices, nodes, strategy, workers, tensorboard)
    if resume is not None:
        if recipe or corpus or out or settings:
            raise typer.BadParameter(
                "the run knows its recipe and its corpora: give nothing else.",
                param_hint="--resume",
            )
        resume_run(resume, hardware, cache)
        return
    if recipe is None:
        raise typer.BadParameter("a recipe (TOML), or --resume RUN.", param_hint="RECIPE")
    changes = dict(pair(text, "--set KEY=VALUE") for text in settings or [])
    train_recipe(recipe, _folders(corpus), out, changes, hardware, cache)


def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|RECIPE", help="A run's folder, or the recipe it is of.")
    ],
    debug: Debug = False,
) -> None:
    """Measure a run by the predictions it has left.

    Writes evaluation.json, .md, .csv and .html into the run's folder; needs no corpus.
    """
    from emoscope.apps.evaluation import evaluate_run

    evaluate_run(run)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write .md or .csv instead.", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare runs: figures side by side, and what of the difference is chance."""
    from emoscope.apps.evaluation import compare_runs

    compare_runs(runs, out)


def fuse(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of finished runs.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write.", file_okay=False)],
    rule: Annotated[
        str,
        typer.Option(
            help="Of the system: average, weighted-average, product, highest-confidence, svm, "
            "random-forest or adaboost."
        ),
    ] = "average",
    seed: Annotated[int, typer.Option(min=0, help="Of the rules that learn.")] = 0,
    debug: Debug = False,
) -> None:
    """Join runs of the same clips and folds; judge every fusion rule.

    Rules that learn do so from the runs' answers to other folds. Writes fusion.md and .json, and a
    system file that `emoscope analyze --model` takes.
    """
    from emoscope.apps.training import fuse_runs

    fuse_runs(runs, out, rule, seed)


def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            help="time-fusion, deformable-convlstm, enhanced-convlstm or audio-visual.",
            show_default=False,
        ),
    ],
    corpus: Corpora = None,
    recipes: Annotated[Path, typer.Option(help="Where the recipes lie.", file_okay=False)] = Path(
        "recipes"
    ),
    out: Annotated[Path, typer.Option(help="Where the runs and the table go.")] = Path("runs"),
    settings: Settings = None,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    workers: Workers = 0,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Run all recipes of one paper that the corpora given allow.

    Goes on with runs that are there already. The paper's printed figures stand in a column of their
    own beside ours, in PAPER.md. --set STEM:KEY=VALUE changes the recipe in STEM.toml alone; a
    recipe whose file of published weights is not there is left out.
    """
    from emoscope.apps.training import reproduce_paper
    from emoscope.training.networks.fit import Hardware

    hardware = Hardware(accelerator, devices, strategy="auto", workers=workers)
    changes = dict(pair(text, "--set KEY=VALUE") for text in settings or [])
    reproduce_paper(paper, recipes, _folders(corpus), out, changes, hardware, cache)


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The bundle to write.")],
    debug: Debug = False,
) -> None:
    """Write a measured run as a bundle, with its card."""
    from emoscope.apps.training import export_bundle_of

    export_bundle_of(run, out)


def explain(
    video: Annotated[
        Path | None,
        typer.Argument(help="A video, an image or a folder of images.", show_default=False),
    ] = None,
    *,
    run: Annotated[
        Path,
        typer.Option("--model", metavar="RUN", help="The run of a network.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.", file_okay=False)] = Path(),
    label: Annotated[
        str | None,
        typer.Option(help="What to explain. By default the likeliest.", show_default=False),
    ] = None,
    start: Start = 0.0,
    end: End = None,
    classes: Annotated[
        bool, typer.Option("--classes", help="Draw what it expects of each label; no video.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of --classes. By default 64.", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw what a trained network looks at in a video.

    Grad-CAM and saliency over the frames that it is shown; where a network has deformable steps,
    the points that they sample. With --classes, by gradient ascent, an image of each label.
    """
    from emoscope.apps.explaining import explain_classes, explain_video

    if classes:
        if video or label or start or end is not None:
            raise typer.BadParameter(
                "it is of all labels and of no video: leave VIDEO, --label, --start and --end out.",
                param_hint="--classes",
            )
        explain_classes(run, out, steps)
        return
    if video is None:
        raise typer.BadParameter("a video, or --classes.", param_hint="VIDEO")
    if steps is not None:
        raise typer.BadParameter("only with --classes.", param_hint="--steps")
    check_span(start, end)
    explain_video(video, run, out, label, start, end)


def add_training_commands(app: typer.Typer) -> None:
    """Hang the laboratory's commands under `emoscope`."""
    for command in (train, evaluate, compare, fuse, reproduce, export, explain):
        app.command()(command)


def _folders(corpora: list[str] | None) -> dict[str, Path]:
    pairs = (pair(text, "--corpus NAME=DIR") for text in corpora or [])
    return {name: Path(folder) for name, folder in pairs}
