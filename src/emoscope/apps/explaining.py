"""`emoscope explain`."""

from pathlib import Path

import typer

from emoscope.core.errors import MissingExtra
from emoscope.media.files import check_writable

try:
    from emoscope.training.explain import explain_clip
    from emoscope.training.explain_drawing import write_explanation
except ImportError as error:
    raise MissingExtra(f"Explaining ({error.name})", "train") from None

__all__ = ["explain_video"]


def explain_video(
    video: Path, run: Path, out: Path, label: str | None, start_s: float, end_s: float | None
) -> None:
    """Draw what a run's network looks at in a recording; say what was drawn."""
    check_writable(out)
    explanation = explain_clip(video, run, label, start_s, end_s)
    for path in write_explanation(explanation, out, video.stem):
        typer.echo(f"written: {path}")
    found = explanation.gradcam
    nothing = "" if found.maps.any() else "; nothing at this layer speaks for it"
    typer.echo(
        f"{found.label} {found.probability:.1%}, Grad-CAM of {found.convolution}, read at "
        f"{found.layer}{nothing}"
    )
