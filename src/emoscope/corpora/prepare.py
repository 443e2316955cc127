"""Corpora made ready to train on: faces found, clips cut and cached once, failures told."""

import functools
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import CorpusError, EmoscopeError, MediaError, SpecError
from emoscope.core.processors import usable_processors
from emoscope.corpora.clip_cache import ClipCache, DigestBook, Finding
from emoscope.corpora.cutting import Cut, Cutting, Faces, cut
from emoscope.corpora.manifest import Sample, digest
from emoscope.corpora.workers import Crashed, each_in_processes
from emoscope.media.clips import Material
from emoscope.media.detectors import create_detector
from emoscope.media.people.sightings import AUTO
from emoscope.media.reading.images import is_image

__all__ = ["Counts", "Failure", "Prepared", "default_cache", "prepare"]

_NAMED = 3  # failures of one reason that are named
_WORTH_A_PROCESS = 8  # clips: fewer are cut before it has started
_SAVE_EVERY_S = 30.0  # what a killed run forgets of digests

_Span = tuple[Path, float, float | None, float | None]
Progress = Callable[[int, int], None]  # done, total


def default_cache() -> Path:
    """$EMOSCOPE_CACHE, or emoscope in $XDG_CACHE_HOME or in ~/.cache."""
    if own := os.environ.get("EMOSCOPE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoscope"


@dataclass(frozen=True)
class Failure:
    """A sample that cannot be used, and why."""

    path: Path
    label: str
    reason: str


@dataclass(frozen=True)
class Counts:
    """Of one label: its clips, those that never show a face, the frames that were looked at, and
    how many of them do not show the face."""

    clips: int = 0
    faceless_clips: int = 0
    frames: int = 0
    without_face: int = 0


@dataclass(frozen=True, eq=False)
class Prepared:
    """The usable samples of a corpus, in its order, and where their clips lie; the failures; the
    counts by label."""

    samples: tuple[Sample, ...]
    failures: tuple[Failure, ...]
    report: Mapping[str, Counts]
    how: Cutting
    clips: ClipCache
    findings: Mapping[_Span, Finding]

    def key(self, sample: Sample) -> str:
        """The name of a usable sample's clip: the digest of all that decides what is in it."""
        return self.findings[_span(sample)].key

    def load(self, sample: Sample) -> Material:
        """A sample's material. A clip whose file was lost or damaged is made anew.

        Raises CorpusError for a sample that is not usable, and where clip and recording are gone.
        """
        found = self.findings.get(_span(sample))
        if found is None or found.reason:
            raise CorpusError(f"{sample.path}: not a usable sample. Prepare the corpus again.")
        if self.how.takes_as_it_is(sample):
            return _material(_cut_again(sample, self.how), sample)
        material = self.clips.load(found.key)
        if material is not None:
            return material
        made = _cut_again(sample, self.how)
        material = _material(made, sample)
        # A full disk does not stop a training; nor is another recording's clip kept as this one's.
        with suppress(EmoscopeError):
            if digest(sample.path) == found.digest:
                self.clips.store(found.key, made)
        return material

    def report_lines(self) -> Iterator[str]:
        """What is usable, what is not and why, where faces were missed."""
        total = len(self.samples) + len(self.failures)
        yield f"usable: {len(self.samples):,} of {total:,} samples"
        by_reason: defaultdict[str, list[Path]] = defaultdict(list)
        for failure in self.failures:
            by_reason[failure.reason].append(failure.path)
        for reason, paths in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            yield f"left out, {reason}: {len(paths):,}"
            yield from (f"  {path}" for path in paths[:_NAMED])
            if len(paths) > _NAMED:
                yield f"  and {len(paths) - _NAMED:,} more"
        if self.how.finds_faces:
            columns = zip(*(astuple(count) for count in self.report.values()), strict=True)
            yield self._faces(Counts(*map(sum, columns)))
            for label, count in self.report.items():
                yield f"{label}: {self._faces(count)}"

    def _faces(self, of: Counts) -> str:
        if self.how.faces == "every-frame":
            return f"{of.without_face:,} of {of.frames:,} frames without a {self.how.whom}"
        return (
            f"no {self.how.whom} in {of.faceless_clips:,} of {of.clips:,} clips, "
            f"not the one followed in {of.without_face:,} of {of.frames:,} frames"
        )


def prepare(
    samples: Sequence[Sample],
    spec: ClipSpec,
    cache: Path,
    *,
    detector: str = AUTO,
    whole: bool = False,
    faces: Faces = "follow",
    min_frames: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Cut the clips of all samples and keep them in `cache`; those that are there are not made
    again, so that a run which was stopped goes on.

    detector     as in `Cutting`; "none": the frame is the face
    whole        keep all frames on the spec's time grid, for training with temporal jitter and
                 evaluation on every block; else those that its rule chooses, with their flow
    faces        how they are found, and `min_frames` that a sequence must have: as in `Cutting`
    workers      processes; if not told as many as there are cores, but fewer for a few clips; with
                 1 this process does it all
    progress     is told how many are done, and of how many

    Samples that cannot be used are told in `failures` and not tried again, but for those that were
    gone. Raises UnknownName or MediaError for the detector, MediaError where the cache cannot be
    written, SpecError for `faces`, EmoscopeError for a package that is missing.
    """
    how = Cutting(spec, detector, whole, faces, min_frames)
    create_detector(how.finder)  # before any work, so that a wrong one is not a failure a sample
    clips, book = ClipCache(cache, how), DigestBook(cache)
    clips.sweep()
    spans = {_span(sample): sample for sample in samples}
    known = ((span, _known(clips, book, how, sample)) for span, sample in spans.items())
    findings = {span: found for span, found in known if found is not None}
    todo = [sample for span, sample in spans.items() if span not in findings]
    job = functools.partial(_find, clips, how)
    tell = progress or (lambda done, total: None)
    tell(len(findings), len(spans))
    with closing(_found(job, todo, workers or _crew(len(todo)), book)) as news:
        for sample, found in news:
            findings[_span(sample)] = found
            tell(len(findings), len(spans))
    return _prepared(samples, how, clips, findings)


def _crew(clips: int) -> int:
    return max(1, min(usable_processors(), clips // _WORTH_A_PROCESS))


def _found(
    job: Callable[[Sample], Finding], todo: Sequence[Sample], workers: int, book: DigestBook
) -> Generator[tuple[Sample, Finding], None, None]:
    """What the job finds of each, its digest put into the book."""
    saved_s = time.monotonic()
    try:
        with closing(each_in_processes(job, todo, workers)) as results:
            for sample, found in results:
                if isinstance(found, Crashed):
                    found = Finding(reason=f"reading it crashed (exit code {found.code})")
                if found.digest and not _is_unreadable_still(sample, found):
                    book.put(sample.path, found.digest)
                if time.monotonic() - saved_s > _SAVE_EVERY_S:
                    book.save()
                    saved_s = time.monotonic()
                yield sample, found
    finally:
        with suppress(MediaError):  # without it the next run is slower, no more
            book.save()


def _known(clips: ClipCache, book: DigestBook, how: Cutting, sample: Sample) -> Finding | None:
    """What an earlier run found, without reading the recording; or that it is gone."""
    if not sample.path.exists():
        return _find(clips, how, sample)
    content = book.get(sample.path)
    if not content:
        return None
    key = clips.key(content, sample)
    known = clips.find(key)
    if known is None and how.takes_as_it_is(sample):
        return Finding(key, frames=1, digest=content)
    return known and replace(known, digest=content)


def _find(clips: ClipCache, how: Cutting, sample: Sample) -> Finding:
    """Make sure that a sample's clip is in the cache, or the reason why it cannot be."""
    try:
        content = digest(sample.path)
    except EmoscopeError as error:  # gone: a file may come back, so that it is not remembered
        return Finding(reason=_reason(error, sample.path))
    key = clips.key(content, sample)
    known = clips.find(key)
    if known is not None:
        return replace(known, digest=content)
    try:
        made = cut(sample, how)
    except (MediaError, SpecError) as error:
        found = Finding(key, _reason(error, sample.path), digest=content)
        if sample.path.exists():
            clips.remember(found)
        return found
    except EmoscopeError:
        raise  # a missing package is no sample's fault
    except Exception as error:  # whatever one file provokes in a decoder, the others go on
        return Finding(key, f"{type(error).__name__}: {error}".splitlines()[0])
    found = Finding(key, made.reason, made.frames, made.without_face, content)
    if found.reason:
        clips.remember(found)
    elif not how.takes_as_it_is(sample):
        clips.store(key, made)
    return found


def _is_unreadable_still(sample: Sample, found: Finding) -> bool:
    """Those do not come into the book: it vouches for stills that are taken as they are."""
    return is_image(sample.path) and bool(found.reason) and not found.is_faceless


def _prepared(
    samples: Sequence[Sample], how: Cutting, clips: ClipCache, findings: Mapping[_Span, Finding]
) -> Prepared:
    of = [findings[_span(sample)] for sample in samples]
    pairs = list(zip(samples, of, strict=True))
    tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample, found in pairs:
        tallies[sample.label].update(
            clips=1,
            faceless_clips=found.is_faceless,
            frames=found.frames,
            without_face=found.without_face,
        )
    return Prepared(
        tuple(sample for sample, found in pairs if not found.reason),
        tuple(Failure(s.path, s.label, found.reason) for s, found in pairs if found.reason),
        {label: Counts(**tallies[label]) for label in sorted(tallies)},
        how,
        clips,
        findings,
    )


def _cut_again(sample: Sample, how: Cutting) -> Cut:
    try:
        return cut(sample, how)
    except EmoscopeError as error:
        reason = _reason(error, sample.path)
        raise CorpusError(f"{sample.path}: no longer readable ({reason}). Restore it.") from None


def _material(made: Cut, sample: Sample) -> Material:
    if made.material is None:
        raise CorpusError(
            f"{sample.path}: no longer usable ({made.reason}). Prepare the corpus again."
        )
    return made.material


def _span(sample: Sample) -> _Span:
    return sample.path, sample.start_s, sample.end_s, sample.fps


def _reason(error: EmoscopeError, path: Path) -> str:
    """What an error says without the path before it and the remedy behind."""
    told = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
    return told.partition(". ")[0].removesuffix(".")
