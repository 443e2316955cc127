"""`emoscope explain`."""

from pathlib import Path

import typer

from emoscope.core.errors import MissingExtra
from emoscope.media.files import check_writable
from emoscope.media.reading.images import film_images
from emoscope.reports.names import report_stem

try:
    from emoscope.training.explain.attribution import explain_clip
    from emoscope.training.explain.class_images import write_classes
    from emoscope.training.explain.drawing import write_explanation
except ImportError as error:
    raise MissingExtra(f"Explaining ({error.name})", "train") from None

__all__ = ["explain_classes", "explain_video"]


def explain_video(
    video: Path, run: Path, out: Path, label: str | None, start_s: float, end_s: float | None
) -> None:
    """Draw what a run's network looks at in a recording; say what was drawn."""
    check_writable(out)
    if video.is_dir():
        film_images(video)  # raises MediaError for separate pictures
    explanation = explain_clip(video, run, label, start_s, end_s)
    for path in write_explanation(explanation, out, report_stem(video)):
        typer.echo(f"written: {path}")
    answer = f"{explanation.label} {explanation.probability:.1%}"
    for heat in explanation.gradcam:
        nothing = "" if heat.maps.any() else "; nothing there speaks for it"
        typer.echo(f"{answer}, Grad-CAM of {heat.convolution}, read at {heat.layer}{nothing}")
    if explanation.heard:
        typer.echo(f"{answer}, heard and not drawn: {', '.join(explanation.heard)}")
    if not explanation.gradcam:
        typer.echo(f"{answer}, no Grad-CAM: no convolution with a map answers once a clip")


def explain_classes(run: Path, out: Path, steps: int | None) -> None:
    """Draw what a run's network expects of each label; say how sure it is of it."""
    check_writable(out)
    path, images = write_classes(run, out, *([] if steps is None else [steps]))
    typer.echo(f"written: {path}")
    for image in images:
        typer.echo(f"{image.label} {image.probability:.1%}")
