"""`emoscope corpus` on the command line. Commands import heavy modules themselves."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emoscope.apps.cli.command import Command, choices
from emoscope.apps.cli.options import Debug, pair

__all__ = ["corpus_app"]

corpus_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class FacesChoice(StrEnum):
    """How faces are detected."""

    follow = "follow"
    every_frame = "every-frame"


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Corpus to read; `emoscope corpus list` describes each. One of: "
        f"{choices('emoscope.corpora:CORPORA')}.",
        show_default=False,
    ),
]
Root = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="Folder of the corpus (for manifest: its CSV file).",
        show_default=False,
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="Option of this corpus, as in `emoscope corpus list`. May be repeated.",
        show_default=False,
    ),
]


def _options(texts: list[str] | None) -> dict[str, str]:
    return dict(pair(text, "--option KEY=VALUE") for text in texts or [])


@corpus_app.command("list", cls=Command)
def list_(debug: Debug = False) -> None:
    """List the corpora that can be read.

    Shows the name of each, the files that it expects, and its options.
    """
    from emoscope.apps.corpora import list_corpora

    list_corpora()


@corpus_app.command(cls=Command)
def scan(
    name: Name,
    root: Root,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Write a list of the samples to this CSV file.",
            show_default=False,
        ),
    ] = None,
    options: Options = None,
    debug: Debug = False,
) -> None:
    """Count the samples of a corpus.

    Shows the counts by label, subject and split, the files left out with the reason, and files
    with identical content.
    """
    from emoscope.apps.corpora import scan as scan_corpus
    from emoscope.corpora import read_corpus

    scan_corpus(read_corpus(name, root, **_options(options)), root, out)


@corpus_app.command(cls=Command)
def prepare(
    name: Name,
    root: Root,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Network or estimator to cut clips for, as in `emoscope models list`; give this, "
            "--spec or --recipe.",
            show_default=False,
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON file that describes a model's inputs (a ClipSpec), to cut clips for.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recipe (TOML) to cut clips for: its model and clip, its labels, detector and "
            "filters. Its training then has nothing left to cut.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of --recipe, as in `train`. May be repeated.",
            show_default=False,
        ),
    ] = None,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Run the Python file of --recipe, as in `train`."),
    ] = False,
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Detector of faces or people. auto is haar for faces and hog for bodies; "
            "NAME=PATH reads the detector from a file; none takes the whole frame as one face. "
            f"One of: {choices('emoscope.media.detectors:DETECTORS')}.",
        ),
    ] = "auto",
    faces: Annotated[
        FacesChoice,
        typer.Option(
            help="follow detects faces in some frames and tracks them in between; every-frame "
            "detects them in every frame and leaves out clips that have a frame without a face."
        ),
    ] = FacesChoice.follow,
    min_frames: Annotated[
        int, typer.Option(min=0, help="Leave out clips with fewer frames than this.")
    ] = 0,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Keep all frames, not only those that the model takes. Recipes that set "
            "evaluation.every need them.",
        ),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for the clips. Default: $EMOSCOPE_CACHE if set, else emoscope in "
            "$XDG_CACHE_HOME or ~/.cache.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of processes. Default: one per processor core, fewer for few clips.",
            show_default=False,
        ),
    ] = None,
    options: Options = None,
    debug: Debug = False,
) -> None:
    """Detect faces in a corpus and store the clips for training.

    Stores the frames and sounds that the model needs. An interrupted run continues where it
    stopped. Ends with a list of samples that cannot be used, how often no face was found, and the
    size of the clips and of the cache.
    """
    from emoscope.apps.corpora import prepare as prepare_corpus
    from emoscope.apps.corpora import prepare_for_recipe, spec_of_file, spec_of_model
    from emoscope.corpora import read_corpus

    if sum(given is not None for given in (model, spec, recipe)) != 1:
        raise typer.BadParameter(
            "give exactly one of the three.", param_hint="--model, --spec, --recipe"
        )
    if recipe is None and (settings or allow_code):
        raise typer.BadParameter("only with --recipe.", param_hint="--set, --allow-code")
    if recipe is not None:
        if options or whole or min_frames or detector != "auto" or faces != FacesChoice.follow:
            raise typer.BadParameter(
                "the recipe decides how clips are cut. Use --set corpus.detector=NAME and so on.",
                param_hint="--recipe",
            )
        changes = dict(pair(text, "--set KEY=VALUE") for text in settings or [])
        prepared = prepare_for_recipe(name, root, recipe, changes, allow_code, cache, workers)
        raise typer.Exit(0 if prepared.samples else 1)
    clip_spec = spec_of_file(spec) if spec else spec_of_model(model or "")
    prepared = prepare_corpus(
        read_corpus(name, root, **_options(options)),
        clip_spec,
        cache,
        detector=detector,
        faces=faces.value,
        min_frames=min_frames,
        whole=whole,
        workers=workers,
    )
    raise typer.Exit(0 if prepared.samples else 1)


@corpus_app.command(cls=Command)
def augment_plan(
    name: Name,
    root: Root,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recipe whose table [augmentation] is counted. Default: the augmentation of the "
            "paper by Tahghighi et al.",
            show_default=False,
        ),
    ] = None,
    options: Options = None,
    debug: Debug = False,
) -> None:
    """Count the variants that augmentation makes of a corpus.

    Shows them by kind of change, per sample and in total, beside the counts that Tahghighi et al.
    print.
    """
    from emoscope.apps.corpora import plan_augmentation

    if recipe is not None and options:
        raise typer.BadParameter(
            "cannot be combined with --recipe. Set corpus.options in the recipe.",
            param_hint="--option",
        )
    plan_augmentation(name, root, recipe, _options(options))


@corpus_app.command(cls=Command)
def synth(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder to write the corpus to.", show_default=False),
    ],
    kind: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Kind of people: faces are talking heads, figures are walking bodies. One of: "
            f"{choices('emoscope.corpora.synthetic.corpus:KINDS')}.",
        ),
    ] = "faces",
    subjects: Annotated[int, typer.Option(min=1, help="Number of people.")] = 10,
    clips: Annotated[int, typer.Option(min=1, help="Clips per person and label.")] = 4,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", help="Length of a clip.")] = 2.0,
    size: Annotated[
        int,
        typer.Option(
            metavar="PIXELS", help="Width and height of the video in pixels, an even number."
        ),
    ] = 128,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed; the same seed draws the same corpus.")
    ] = 0,
    debug: Debug = False,
) -> None:
    """Draw a synthetic corpus, for tests and tutorials.

    Shows people with expressions and voices. Some of the classes differ only in how they move over
    time.
    """
    from emoscope.apps.corpora import synthesise_corpus

    synthesise_corpus(
        folder,
        kind=kind,
        subjects=subjects,
        clips=clips,
        seconds=seconds,
        size_px=size,
        seed=seed,
    )
