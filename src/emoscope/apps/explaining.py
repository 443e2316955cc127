"""`emoscope explain`."""

from pathlib import Path

import typer

from emoscope.core.errors import MissingExtra
from emoscope.media.files import check_writable
from emoscope.media.reading.images import film_images
from emoscope.reports.names import report_stem

try:
    from emoscope.training.explain.attribution import explain_clip
    from emoscope.training.explain.class_images import STEPS, write_classes
    from emoscope.training.explain.drawing import write_explanation
    from emoscope.training.explain.names import drawing_source
except ImportError as error:
    raise MissingExtra(f"Explaining ({error.name})", "train") from None

__all__ = ["explain_classes", "explain_video"]


def explain_video(
    video: Path,
    run: Path,
    out: Path,
    label: str | None,
    start_s: float,
    end_s: float | None,
    allow_code: bool,
) -> None:
    """Explain the prediction of a run's network for a recording; print the files written."""
    check_writable(out)
    if video.is_dir():
        film_images(video)  # raises MediaError for separate pictures
    explanation = explain_clip(video, run, label, start_s, end_s, allow_code=allow_code)
    stem = report_stem(video)
    paths = write_explanation(explanation, out, stem, drawing_source(run, video))
    for path in paths:
        typer.echo(f"written: {path}")
    name = paths[0].stem.rpartition("-")[0]
    if name != stem:
        taken = f"{stem} is taken by another recording, run or file"
        typer.echo(f"{video}: note: its drawings are named {name}: {taken}", err=True)
    prediction = f"{explanation.label} {explanation.probability:.1%}"
    for heat in explanation.gradcam:
        nothing = "" if heat.maps.any() else "; no positive influence"
        layers = f"convolution {heat.convolution}, output of {heat.layer}"
        typer.echo(f"{prediction}, Grad-CAM: {layers}{nothing}")
    if explanation.heard:
        typer.echo(f"{prediction}, not drawn (sound): {', '.join(explanation.heard)}")
    if not explanation.gradcam:
        typer.echo(
            f"{prediction}, no Grad-CAM: no convolution with a feature map runs once per clip"
        )


def explain_classes(run: Path, out: Path, steps: int | None, allow_code: bool) -> None:
    """Draw a class image of each label; print its probability."""
    check_writable(out)
    steps = STEPS if steps is None else steps
    path, images = write_classes(run, out, steps, allow_code=allow_code)
    typer.echo(f"written: {path}")
    for image in images:
        typer.echo(f"{image.label} {image.probability:.1%}")
