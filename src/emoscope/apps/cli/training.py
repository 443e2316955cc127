"""Commands for training: their arguments and help. Heavy imports happen when one is called."""

from pathlib import Path
from typing import Annotated

import typer

from emoscope.apps.cli.command import Command, choices
from emoscope.apps.cli.options import Debug, End, Start, check_span, pair

__all__ = ["add_training_commands"]

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run, as `emoscope train` writes it.")
]
Corpora = Annotated[
    list[str] | None,
    typer.Option(
        "--corpus",
        metavar="NAME=FOLDER",
        help="Name and folder of a corpus, e.g. ravdess=data/ravdess; repeat for each corpus.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe, e.g. schedule.epochs=2. May be repeated.",
        show_default=False,
    ),
]
Accelerator = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Hardware to train on, as Lightning names it: auto, cpu, gpu ..."
    ),
]
Devices = Annotated[int, typer.Option(min=1, help="Number of devices; one process per device.")]
Nodes = Annotated[int, typer.Option(min=1, help="Number of machines.")]
Strategy = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="How Lightning divides the work among several devices: ddp ..."
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that load clips (0 loads them in the main process).")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the prepared clips, as in `emoscope corpus prepare`.",
        file_okay=False,
        show_default=False,
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Run the Python file that the recipe names as its model (model.name = "
        "'module:class'). Only for code that you trust.",
    ),
]


def train(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="TOML file that describes the training.", show_default=False),
    ] = None,
    corpus: Corpora = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder to write the run to. Default: runs/ and the name of the recipe.",
            show_default=False,
        ),
    ] = None,
    settings: Settings = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Resume the interrupted run in this folder.", show_default=False
        ),
    ] = None,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    workers: Workers = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write logs for TensorBoard.")
    ] = False,
    cache: Cache = None,
    allow_code: AllowCode = False,
    debug: Debug = False,
) -> None:
    """Train a recipe, evaluate the run and export its bundle.

    Trains every fold and seed of the recipe's protocol. Resume an interrupted run with --resume;
    the result is identical.
    """
    from emoscope.apps.training import resume_run, train_recipe
    from emoscope.training.networks.fit import Hardware

    hardware = Hardware(accelerator, devices, nodes, strategy, workers, tensorboard)
    if resume is not None:
        if recipe or corpus or out or settings:
            raise typer.BadParameter(
                "the run has its recipe and corpora: leave RECIPE, --corpus, --out and --set out.",
                param_hint="--resume",
            )
        resume_run(resume, hardware, cache, allow_code)
        return
    if recipe is None:
        raise typer.BadParameter("give a recipe (TOML), or --resume RUN.", param_hint="RECIPE")
    changes = dict(pair(text, "--set KEY=VALUE") for text in settings or [])
    train_recipe(recipe, _folders(corpus), out, changes, hardware, cache, allow_code)


def evaluate(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RECIPE",
            help="Folder of a run, or the recipe of a run in runs/ under the recipe's name.",
        ),
    ],
    debug: Debug = False,
) -> None:
    """Evaluate a finished run.

    Computes accuracy, unweighted average recall (UAR) and more from the predictions in the run
    folder, and writes evaluation.json, .md, .csv and .html into it. Needs no corpus.
    """
    from emoscope.apps.evaluation import evaluate_run

    evaluate_run(run)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of finished runs.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Write a .md or .csv file instead of printing.",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare runs and test the differences between them.

    Prints one table of the runs' results and one of the differences between them, with
    confidence intervals and p-values.
    """
    from emoscope.apps.evaluation import compare_runs

    compare_runs(runs, out)


def fuse(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of finished runs.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FOLDER", help="Folder to write to.", file_okay=False),
    ],
    rule: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Rule of the exported system. One of: "
            f"{choices('emoscope.training.evaluation.fit_fusion:RULES')}.",
        ),
    ] = "average",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the trained rules.")] = 0,
    debug: Debug = False,
) -> None:
    """Fuse the predictions of runs and evaluate every fusion rule.

    The runs must have the same clips and folds. Trained rules learn from the runs' predictions for
    other folds. Writes fusion.md and fusion.json, and a system file for `emoscope analyze --model`.
    """
    from emoscope.apps.training import fuse_runs

    fuse_runs(runs, out, rule, seed)


def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            help=f"One of: {choices('emoscope.training.papers.published:papers')}.",
            show_default=False,
        ),
    ],
    corpus: Corpora = None,
    recipes: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the recipes.", file_okay=False)
    ] = Path("recipes"),
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the runs and the table.")
    ] = Path("runs"),
    settings: Settings = None,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    workers: Workers = 0,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Reproduce the results of a paper.

    Trains the paper's recipes whose corpora are given, resumes existing runs, and writes a table of
    our results and the paper's to PAPER.md. --set STEM:KEY=VALUE changes the recipe in STEM.toml
    only. Recipes whose file of published weights is missing are left out.
    """
    from emoscope.apps.training import reproduce_paper
    from emoscope.training.networks.fit import Hardware

    hardware = Hardware(accelerator, devices, strategy="auto", workers=workers)
    changes = dict(pair(text, "--set KEY=VALUE") for text in settings or [])
    reproduce_paper(paper, recipes, _folders(corpus), out, changes, hardware, cache)


def export(
    run: RunFolder,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The bundle (.onnx) to write.")
    ],
    allow_code: AllowCode = False,
    debug: Debug = False,
) -> None:
    """Export an evaluated run as a bundle with its card.

    A bundle is one .onnx file, for `emoscope analyze --model`. The card describes the model, its
    results and its limits.
    """
    from emoscope.apps.training import export_bundle_of

    export_bundle_of(run, out, allow_code)


def explain(
    video: Annotated[
        Path | None,
        typer.Argument(help="A video, an image or a folder of images.", show_default=False),
    ] = None,
    *,
    run: Annotated[
        Path,
        typer.Option("--model", metavar="RUN", help="Run folder of a network.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the drawings.", file_okay=False)
    ] = Path(),
    label: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="Label to explain. Default: the most probable.",
            show_default=False,
        ),
    ] = None,
    start: Start = 0.0,
    end: End = None,
    classes: Annotated[
        bool,
        typer.Option("--classes", help="Draw a class image of every label instead of a video."),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps of gradient ascent with --classes. Default: 64.", show_default=False
        ),
    ] = None,
    allow_code: AllowCode = False,
    debug: Debug = False,
) -> None:
    """Explain the prediction of a trained network for a video.

    Draws Grad-CAM and saliency over the frames, and the sampling points of deformable steps if the
    network has any. With --classes, draws the image that maximises each label, by gradient ascent.
    """
    from emoscope.apps.explaining import explain_classes, explain_video

    if classes:
        if video or label or start or end is not None:
            raise typer.BadParameter(
                "draws all labels and takes no video: leave VIDEO, --label, --start and --end out.",
                param_hint="--classes",
            )
        explain_classes(run, out, steps, allow_code)
        return
    if video is None:
        raise typer.BadParameter("give a video, or --classes.", param_hint="VIDEO")
    if steps is not None:
        raise typer.BadParameter("works only with --classes.", param_hint="--steps")
    check_span(start, end)
    explain_video(video, run, out, label, start, end, allow_code)


def add_training_commands(app: typer.Typer) -> None:
    """Add the training commands to `emoscope`."""
    for command in (train, evaluate, compare, fuse, reproduce, export, explain):
        app.command(cls=Command)(command)


def _folders(corpora: list[str] | None) -> dict[str, Path]:
    pairs = (pair(text, "--corpus NAME=FOLDER") for text in corpora or [])
    return {name: Path(folder) for name, folder in pairs}
