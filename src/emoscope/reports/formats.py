"""Registry of report formats, and `write_report`, which writes them.

To add a format, write a module in this package that registers it:

    def write_text(timeline: Timeline, path: Path, video: Path | None = None) -> None:
        path.write_text(str(timeline))

    FORMATS.add("txt", ReportFormat(".txt", write_text))

A third argument of ReportFormat reads recording and model from such a file. Without it, an earlier
report of that kind is never replaced.

Another package registers one through an entry point of the group "emoscope.reports". A module is
imported whenever formats are looked up, so it imports slow packages inside its writer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoscope.core.errors import MediaError
from emoscope.core.registry import Registry
from emoscope.core.results import Timeline
from emoscope.media.files import replacing
from emoscope.reports.names import ReadSource, Source, source_of, unused_stem

__all__ = [
    "FORMATS",
    "FORMAT_VERSION",
    "ReportFormat",
    "Source",
    "Writer",
    "source_of",
    "write_report",
]

Writer = Callable[[Timeline, Path, Path | None], None]
"""Writes a Timeline to a path. The third argument is the video, if it is available."""


@dataclass(frozen=True)
class ReportFormat:
    """A kind of report file."""

    suffix: str  # follows the stem in the file's name: ".json"
    write: Writer
    read_source: ReadSource | None = None  # of a file that `write` wrote


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

    Files are named after the video, plus the format's suffix. Earlier reports of the same video by
    the same model are replaced. If the name belongs to another video or model, or to a file that is
    no report, the name is extended: talk_mov.json, talk_face-voice.json, talk-2.json. With `stem`
    the files have this name, and replace what is there.

    A file is written completely or not at all. Raises UnknownName before anything is written, and
    MediaError if a file cannot be written or would replace the video.

    >>> write_report(timeline, "report", ["json", "html"], video="talk.mp4")  # doctest: +SKIP
    [PosixPath('report/talk.json'), PosixPath('report/talk.html')]
    """
    entries = [FORMATS[name] for name in formats]
    out_dir, video = Path(out_dir), None if video is None else Path(video)
    if stem is None:
        recording = video or timeline.provenance.path
        readers = {FORMATS[name].suffix: FORMATS[name].read_source for name in FORMATS}
        stem = unused_stem(timeline, recording, out_dir, readers, {e.suffix for e in entries})
    paths = []
    for entry in entries:
        path = out_dir / (stem + entry.suffix)
        if video is not None and path.exists() and path.samefile(video):
            raise MediaError(f"{path}: the report would replace the video. Choose another name.")
        with replacing(path) as part:
            entry.write(timeline, part, video)
        paths.append(path)
    return paths
