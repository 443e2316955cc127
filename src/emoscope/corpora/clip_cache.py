"""Files that `prepare` keeps: clips and failures by content, digests by path and time of change.

CACHE/clips/ab/ab12....npz     the material of one clip, uncompressed
CACHE/clips/ab/ab12....json    the reason why a clip could not be made
CACHE/digests.json             digests of the recordings, so that a second run need not read them
CACHE/sets/12ab....json        for `emoscope cache`: the clips that a corpus and a model input share
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
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

__all__ = ["ClipCache", "DigestBook", "Finding", "state_of"]

_FORMAT = 2  # of the files and their content: increase it when clips are cut differently
_ABANDONED_S = 3600.0
_LOOKS = "looks"  # array of a clip file: [frames, frames without the face]


@dataclass(frozen=True)
class Finding:
    """The result for one span of a recording.

    key            name in the cache; "" for a recording that could not be read at all
    reason         why the span cannot be used; "" if it can
    frames         number of frames read; `without_face` of them do not show the face
    digest         digest of the recording; "" if it could not be read
    state          `state_of` the recording before it was read; not stored
    note           that the recording ends early, as in `Cut`; not stored
    """

    key: str = ""
    reason: str = ""
    frames: int = 0
    without_face: int = 0
    digest: str = ""
    state: str = ""
    note: str = ""

    @property
    def is_faceless(self) -> bool:
        """Whether no frame shows a face."""
        return bool(self.frames) and self.without_face == self.frames


class ClipCache:
    """The stored clips of one `Cutting`. Raises MediaError for a folder that is not writable."""

    def __init__(self, folder: Path, how: Cutting) -> None:
        self.folder = folder
        _, _, weights = how.finder.partition("=")
        self._facts = how.facts() | {"format": _FORMAT}
        if weights and how.finds_faces:
            self._facts["detector"] = digest(Path(weights))

    def key(self, content: str, sample: Sample, note: str = "") -> str:
        """The name of a clip: the digest of everything that determines its content.

        A clip of a recording that ends early, for the reason in `note`, has a name of its own: its
        content is not that of the whole recording."""
        facts = {"content": content, "span": (sample.start_s, sample.end_s), "fps": sample.fps}
        if note:
            facts["note"] = note
        return _hashed(json.dumps(self._facts | facts, sort_keys=True))

    def find(self, key: str) -> Finding | None:
        """The stored finding for a clip; None if the clip is not stored or its file incomplete."""
        try:
            return Finding(**json.loads(self._path(key, ".json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            pass  # no stored failure, or an unreadable one
        try:
            with self._opened(key) as arrays:
                frames, without_face = arrays[_LOOKS].tolist()
        except Exception:  # numpy and zipfile raise many types for a damaged file
            return None
        return Finding(key, frames=frames, without_face=without_face)

    def load(self, key: str) -> Material | None:
        """The material of a clip; None if its file is missing or damaged (zip checksums)."""
        try:
            with self._opened(key) as arrays:
                return _unpacked({name: arrays[name] for name in arrays if name != _LOOKS})
        except Exception:  # as above
            return None

    def store(self, key: str, made: Cut) -> None:
        """Write a clip, completely or not at all."""
        assert made.material is not None
        arrays = _packed(made.material) | {_LOOKS: np.array([made.frames, made.without_face])}
        with replacing(self._path(key, ".npz")) as part:
            np.savez(part, allow_pickle=False, **arrays)

    def remember(self, failure: Finding) -> None:
        """Store the reason why a clip could not be made."""
        facts = {name: v for name, v in asdict(failure).items() if name not in ("state", "note")}
        with replacing(self._path(failure.key, ".json")) as part:
            part.write_text(json.dumps(facts), encoding="utf-8")

    def size_bytes(self, keys: Iterable[str]) -> int:
        """The size of stored clips; of those that are not stored, 0."""
        total = 0
        for key in set(keys):
            with suppress(OSError):
                total += self._path(key, ".npz").stat().st_size
        return total

    def record_set(self, title: str, keys: Iterable[str]) -> None:
        """Store which clips were prepared together, under a title for people."""
        facts = json.dumps([title, self._facts], sort_keys=True)
        with (
            suppress(EmoscopeError),  # `emoscope cache` then shows less
            replacing(self.folder / "sets" / f"{_hashed(facts)}.json") as part,
        ):
            text = json.dumps({"title": title, "keys": sorted(set(keys))})
            part.write_text(text, encoding="utf-8")

    def sweep(self) -> None:
        """Delete temporary files that killed runs left, but not those in use by other runs."""
        for part in self.folder.glob("*/*/.emoscope-*"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED_S:
                    part.unlink()

    @contextmanager
    def _opened(self, key: str) -> "Iterator[Mapping[str, AnyArray]]":
        # If numpy opened the file, it would leave a damaged one open.
        with (
            self._path(key, ".npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            yield arrays

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / "clips" / key[:2] / f"{key}{suffix}"


class DigestBook:
    """Digests of recordings, valid as long as size and modification time are unchanged."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "digests.json"
        self._known = self._read()
        self._new: dict[str, list[str]] = {}

    def get(self, path: Path) -> str:
        """The digest of a recording; "" if unknown or the recording has changed."""
        state, content = self._known.get(str(path.absolute()), ("", ""))
        with suppress(OSError, EmoscopeError):
            return content if state == state_of(path) else ""
        return ""

    def put(self, path: Path, content: str, state: str) -> None:
        """Add a digest, to be written by the next `save`.

        state   `state_of` the recording before the digest was computed"""
        self._new[str(path.absolute())] = [state, content]

    def save(self) -> None:
        """Merge the added digests with those that other runs have written. Raises MediaError."""
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


def state_of(path: Path) -> str:
    """Size and modification time, as text that changes when the recording does.

    Raises OSError or MediaError."""
    if path.is_dir():
        return _hashed("".join(f"{p.name}:{state_of(p)};" for p in numbered_images(path)))
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _packed(material: Material) -> dict[str, AnyArray]:
    """Arrays by names such as "pictures 112 112", "flow 112 112" and "vector egemaps"."""
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
