"""Names of drawings. A drawing replaces only one of the same recording by the same run.

Every PNG file states its source in a text chunk.
"""

import itertools
import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["Source", "drawing_source", "drawing_stem", "with_source"]

Source = Mapping[str, str]
"""What a drawing was made from: the paths of the run, and of the recording if there is one."""

_KEYWORD = b"emoscope\0"
_HEAD = 8  # bytes of a PNG file before its first chunk
_END = 12  # bytes of its last chunk, which is empty


def drawing_source(run_dir: Path, recording: Path | None = None) -> dict[str, str]:
    """The source of the drawings of a run."""
    paths = {"run": run_dir} | ({} if recording is None else {"recording": recording})
    return {name: os.path.realpath(path) for name, path in paths.items()}


def drawing_stem(stem: str, kinds: Iterable[str], source: Source, folder: Path) -> str:
    """Choose a name that no drawing of another source has, and no other file.

    kinds   the parts after the name: "gradcam" for NAME-gradcam.png and .mp4

    It is `stem`, then `stem` with the run's name, then with a number."""
    run = re.sub(r"[^\w.-]+", "_", Path(source["run"]).name)
    longer = stem if stem == run else f"{stem}_{run}"
    numbered = (f"{longer}-{number}" for number in itertools.count(2))
    kinds = tuple(kinds)
    for name in itertools.chain(dict.fromkeys((stem, longer)), numbered):
        pictures = [folder / f"{name}-{kind}.png" for kind in kinds]
        if all(
            _source_of(picture) == source
            for picture in pictures
            if os.path.lexists(picture) or os.path.lexists(picture.with_suffix(".mp4"))
        ):
            return name
    raise AssertionError("the numbers never end")


def with_source(png: bytes, source: Source) -> bytes:
    """Add a source to the content of a PNG file."""
    content = b"tEXt" + _KEYWORD + json.dumps(source).encode("ascii")
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return png[:-_END] + chunk + png[-_END:]


def _source_of(path: Path) -> Source | None:
    """The source in a PNG file; None if there is no such file or it states none."""
    try:
        png = path.read_bytes()
        place = _HEAD
        while place < len(png):
            (length,) = struct.unpack_from(">I", png, place)
            content = png[place + 4 : place + 8 + length]
            if content.startswith(b"tEXt" + _KEYWORD):
                source: Source = json.loads(content[4 + len(_KEYWORD) :])
                return source
            place += length + _END
    except (OSError, struct.error, ValueError):
        pass
    return None
