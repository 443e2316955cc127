"""`emoscope corpus`: what it takes. Everything heavy is imported by the command that needs it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emoscope.apps.cli_options import Debug

__all__ = ["corpus_app"]

corpus_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class FacesChoice(StrEnum):
    """How faces are found."""

    follow = "follow"
    every_frame = "every-frame"


Name = Annotated[str, typer.Argument(help="Whose layout: ravdess, folder ...")]
Root = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder it lies in.", show_default=False)
]
Pattern = Annotated[
    str | None,
    typer.Option(
        help="gemep: what its file names are, a regular expression with the groups actor and "
        "emotion.",
        show_default=False,
    ),
]


@corpus_app.command()
def scan(
    name: Name,
    root: Root,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write the manifest (CSV).", show_default=False),
    ] = None,
    pattern: Pattern = None,
    debug: Debug = False,
) -> None:
    """Count a corpus's samples.

    By label, subject and split; what was left out and why; which files are the same.
    """
    from emoscope.apps.corpora import scan as scan_corpus
    from emoscope.corpora import read_corpus

    scan_corpus(read_corpus(name, root, pattern), root, out)


@corpus_app.command()
def prepare(
    name: Name,
    root: Root,
    model: Annotated[
        str | None,
        typer.Option(help="Cut clips for this network or estimator.", show_default=False),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(help="Cut clips by this ClipSpec (JSON).", show_default=False),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="auto (faces: haar, bodies: hog), haar, hog, lbp, lbp=PATH, yunet=PATH or none."
        ),
    ] = "auto",
    faces: Annotated[
        FacesChoice,
        typer.Option(
            help="Detect now and then and follow in between, or detect in every frame and leave "
            "out what has a frame without a face."
        ),
    ] = FacesChoice.follow,
    min_frames: Annotated[
        int, typer.Option(min=0, help="Leave out sequences of fewer frames.")
    ] = 0,
    whole: Annotated[
        bool, typer.Option("--whole", help="Keep all frames, to judge on every block of them.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Where clips are kept. By default $EMOSCOPE_CACHE, or emoscope in "
            "$XDG_CACHE_HOME or ~/.cache.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes. By default one a core, for many clips.", show_default=False
        ),
    ] = None,
    pattern: Pattern = None,
    debug: Debug = False,
) -> None:
    """Cut a corpus's clips once, for training to read.

    Finds the faces, keeps what the model needs, and goes on where it was stopped. Ends with what
    cannot be used and why, and where no face was seen.
    """
    from emoscope.apps.corpora import prepare as prepare_corpus
    from emoscope.apps.corpora import spec_of_file, spec_of_model
    from emoscope.corpora import read_corpus

    if (model is None) == (spec is None):
        raise typer.BadParameter("give one of the two.", param_hint="--model, --spec")
    clip_spec = spec_of_file(spec) if spec else spec_of_model(model or "")
    prepared = prepare_corpus(
        read_corpus(name, root, pattern),
        clip_spec,
        cache,
        detector=detector,
        faces=faces.value,
        min_frames=min_frames,
        whole=whole,
        workers=workers,
    )
    raise typer.Exit(0 if prepared.samples else 1)


@corpus_app.command()
def augment_plan(
    name: Name,
    root: Root,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Whose [augmentation] it is. By default what Tahghighi et al. print of theirs.",
            show_default=False,
        ),
    ] = None,
    pattern: Pattern = None,
    debug: Debug = False,
) -> None:
    """Count the variants that augmentation makes of a corpus.

    By kind, a sample and in all; beside what Tahghighi et al. count of theirs.
    """
    from emoscope.apps.corpora import plan_augmentation

    if recipe is not None and pattern is not None:
        raise typer.BadParameter("the recipe's corpus.pattern is taken.", param_hint="--pattern")
    plan_augmentation(name, root, recipe, pattern)


@corpus_app.command()
def synth(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The folder to make.", show_default=False),
    ],
    kind: Annotated[str, typer.Option(help="faces or figures.")] = "faces",
    subjects: Annotated[int, typer.Option(min=1, help="How many people.")] = 10,
    clips: Annotated[int, typer.Option(min=1, help="Of each label by each person.")] = 4,
    seconds: Annotated[float, typer.Option(help="How long a clip is.")] = 2.0,
    size: Annotated[int, typer.Option(help="Side of the square frames, px, even.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same corpus.")] = 0,
    debug: Debug = False,
) -> None:
    """Draw a synthetic corpus: people who act and sound.

    For tests, tutorials and comparisons. Some classes differ in their dynamics alone.
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
