"""Registry of report formats, and `write_report`, which writes them.

To add a format, write a module in this package that registers it:

    def write_text(timeline: Timeline, path: Path, video: Path | None = None) -> None:
        path.write_text(str(timeline))

    FORMATS.add("txt", ReportFormat(".txt", write_text))

Another package registers one through an entry point of the group "emoscope.reports". A module is
imported whenever formats are looked up, so it imports slow packages inside its writer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoscope.core.registry import Registry
from emoscope.core.results import Timeline
from emoscope.media.files import replacing

__all__ = ["FORMATS", "FORMAT_VERSION", "ReportFormat", "Writer", "write_report"]

Writer = Callable[[Timeline, Path, Path | None], None]
"""Writes a Timeline to a path. The third argument is the video, if it is available."""


@dataclass(frozen=True)
class ReportFormat:
    """A kind of report file."""

    suffix: str  # follows the stem in the file's name: ".json"
    write: Writer


FORMATS: Registry[ReportFormat] = Registry(
    "report format", package="emoscope.reports", group="emoscope.reports"
)
FORMAT_VERSION = 1  # of the JSON document and the Parquet metadata


def write_report(
    timeline: Timeline,
    out_dir: str | Path,
    formats: Sequence[str],
    *,
    video: str | Path | None = None,
    stem: str | None = None,
) -> list[Path]:
    """Write one file per format to `out_dir`, which is created if needed, and return the paths.

    Files are named `stem` plus the format's suffix; `stem` is the video's by default. A file is
    written completely or not at all. Raises UnknownName before anything is written, and MediaError
    if a file cannot be written.

    >>> write_report(timeline, "report", ["json", "html"], video="talk.mp4")  # doctest: +SKIP
    [PosixPath('report/talk.json'), PosixPath('report/talk.html')]
    """
    entries = [FORMATS[name] for name in formats]
    out_dir, video = Path(out_dir), None if video is None else Path(video)
    stem = stem or Path(video or timeline.provenance.path).stem or "timeline"
    paths = []
    for entry in entries:
        path = out_dir / (stem + entry.suffix)
        with replacing(path) as part:
            entry.write(timeline, part, video)
        paths.append(path)
    return paths
