"""What `prepare` keeps on disk: clips and failures by their content, digests by path and time.

CACHE/clips/ab/ab12....npz     the material of one clip, uncompressed
CACHE/clips/ab/ab12....json    why there is none
CACHE/digests.json             digests of the recordings, so that a second run reads none
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emoscope.core.arrays import AnyArray
from emoscope.core.errors import EmoscopeError
from emoscope.corpora.cutting import Cut, Cutting
from emoscope.corpora.manifest import Sample, digest
from emoscope.media.clips import Material
from emoscope.media.files import replacing
from emoscope.media.reading.images import numbered_images

__all__ = ["ClipCache", "DigestBook", "Finding"]

_FORMAT = 1  # of the files, and of what they hold: raise it when a clip is cut otherwise
_ABANDONED_S = 3600.0
_LOOKS = "looks"  # [frames, of them without the face]


@dataclass(frozen=True)
class Finding:
    """What came of one recording's span.

    key            its name in the cache; "" where the recording could not be read at all
    reason         why it cannot be used; "" where it can
    frames         how many were looked at; `without_face` of them do not show the face
    digest         of the recording; "" where it could not be read
    """

    key: str = ""
    reason: str = ""
    frames: int = 0
    without_face: int = 0
    digest: str = ""

    @property
    def is_faceless(self) -> bool:
        """Whether a face was looked for and never seen."""
        return bool(self.frames) and self.without_face == self.frames


class ClipCache:
    """The clips that were cut in one way. Raises MediaError where the folder cannot be written."""

    def __init__(self, folder: Path, how: Cutting) -> None:
        self.folder = folder
        _, _, weights = how.finder.partition("=")
        self._facts = how.facts() | {"format": _FORMAT}
        if weights and how.finds_faces:
            self._facts["detector"] = digest(Path(weights))

    def key(self, content: str, sample: Sample) -> str:
        """The name of a clip: the digest of all that decides what is in it."""
        span = {"content": content, "span": (sample.start_s, sample.end_s), "fps": sample.fps}
        return _hashed(json.dumps(self._facts | span, sort_keys=True))

    def find(self, key: str) -> Finding | None:
        """What is known of a clip; None where it is to be made, or was cut off."""
        try:
            return Finding(**json.loads(self._path(key, ".json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            pass  # not a failure, or an unreadable one
        try:
            with self._opened(key) as arrays:
                frames, without_face = arrays[_LOOKS].tolist()
        except Exception:  # numpy and zipfile raise all sorts of things for a damaged file
            return None
        return Finding(key, frames=frames, without_face=without_face)

    def load(self, key: str) -> Material | None:
        """A clip's material; None where its file is gone or damaged: every byte is checked."""
        try:
            with self._opened(key) as arrays:
                return _unpacked({name: arrays[name] for name in arrays if name != _LOOKS})
        except Exception:  # as above
            return None

    def store(self, key: str, made: Cut) -> None:
        """Write a clip, whole or not at all."""
        assert made.material is not None
        arrays = _packed(made.material) | {_LOOKS: np.array([made.frames, made.without_face])}
        with replacing(self._path(key, ".npz")) as part:
            np.savez(part, allow_pickle=False, **arrays)

    def remember(self, failure: Finding) -> None:
        """Write down why there is no clip."""
        with replacing(self._path(failure.key, ".json")) as part:
            part.write_text(json.dumps(asdict(failure)), encoding="utf-8")

    def sweep(self) -> None:
        """Take away what killed runs have left half-written, but not what others now write."""
        for part in self.folder.glob("*/*/.emoscope-*"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED_S:
                    part.unlink()

    @contextmanager
    def _opened(self, key: str) -> "Iterator[Mapping[str, AnyArray]]":
        # numpy leaves a damaged file open that it has opened itself.
        with (
            self._path(key, ".npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            yield arrays

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / "clips" / key[:2] / f"{key}{suffix}"


class DigestBook:
    """Digests of recordings, good for as long as size and time of change stay what they were."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "digests.json"
        self._known = self._read()
        self._new: dict[str, list[str]] = {}

    def get(self, path: Path) -> str:
        """The digest of a recording; "" where it is not known any more."""
        state, content = self._known.get(str(path.absolute()), ("", ""))
        with suppress(OSError, EmoscopeError):
            return content if state == _state(path) else ""
        return ""

    def put(self, path: Path, content: str) -> None:
        """Remember one, from the next `save` on."""
        with suppress(OSError, EmoscopeError):
            self._new[str(path.absolute())] = [_state(path), content]

    def save(self) -> None:
        """Write what is new beside what others have written meanwhile. Raises MediaError."""
        if self._new:
            self._known = self._read() | self._new
            with replacing(self._path) as part:
                part.write_text(json.dumps(self._known), encoding="utf-8")
            self._new = {}

    def _read(self) -> dict[str, list[str]]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _state(path: Path) -> str:
    """Changes when a recording does."""
    if path.is_dir():
        return _hashed("".join(f"{p.name}:{_state(p)};" for p in numbered_images(path)))
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _packed(material: Material) -> dict[str, AnyArray]:
    """Names like "pictures 112 112", "flow 112 112" and "vector egemaps"."""
    pictures = {f"pictures {h} {w}": values for (h, w), values in material.pictures.items()}
    flow = {f"flow {h} {w}": f.astype(np.float16) for (h, w), f in material.flow.items()}
    return pictures | flow | {f"vector {kind}": v for kind, v in material.vectors.items()}


def _unpacked(arrays: dict[str, AnyArray]) -> Material:
    parts: dict[str, dict[Any, AnyArray]] = {"pictures": {}, "flow": {}, "vector": {}}
    for name, values in arrays.items():
        part, *rest = name.split(" ")
        parts[part][rest[0] if part == "vector" else (int(rest[0]), int(rest[1]))] = values
    flow = {size: values.astype(np.float32) for size, values in parts["flow"].items()}
    return Material(parts["pictures"], flow, parts["vector"])


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
