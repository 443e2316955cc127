"""Prepare corpora for training: detect faces, cut and cache clips once, report failures."""

import functools
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import CorpusError, EmoscopeError, MediaError, ReadError, SpecError
from emoscope.core.processors import usable_processors
from emoscope.corpora.clip_cache import ClipCache, DigestBook, Finding, state_of
from emoscope.corpora.cutting import Cutting, Faces, cut
from emoscope.corpora.manifest import Sample, digest, exists
from emoscope.corpora.workers import Crashed, each_in_processes
from emoscope.media.clips import Material
from emoscope.media.detectors import create_detector
from emoscope.media.people.sightings import AUTO
from emoscope.media.reading.images import is_image

__all__ = ["Counts", "Failure", "Prepared", "prepare"]

_NAMED = 3  # failures of one reason that are listed
_WORTH_A_PROCESS = 8  # clips: fewer are cut in the time that a process takes to start
_SAVE_EVERY_S = 30.0  # a killed run loses the digests of this time

_Span = tuple[Path, float, float | None, float | None]
Progress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class Failure:
    """A sample that cannot be used, and the reason."""

    path: Path
    label: str
    reason: str


@dataclass(frozen=True)
class Counts:
    """Counts of one label: clips, clips without any face, frames read, and frames without the face
    of the clip."""

    clips: int = 0
    faceless_clips: int = 0
    frames: int = 0
    without_face: int = 0


@dataclass(frozen=True, eq=False)
class Prepared:
    """The usable samples of a corpus in its order, with their clips; failures; counts by label.

    shortened   usable samples whose recording ends before the length in its header
    unread      the failures that are not remembered: a later run tries these recordings again
    """

    samples: tuple[Sample, ...]
    failures: tuple[Failure, ...]
    report: Mapping[str, Counts]
    how: Cutting
    clips: ClipCache
    findings: Mapping[_Span, Finding]
    shortened: tuple[Failure, ...] = ()
    unread: tuple[Failure, ...] = ()

    def key(self, sample: Sample) -> str:
        """The name of a usable sample's clip: the digest of all that determines its content."""
        return self.findings[_span(sample)].key

    def load(self, sample: Sample) -> Material:
        """Load the material of a sample. A missing or damaged clip is cut again.

        Raises CorpusError for a sample that is not usable, and if clip and recording are missing.
        """
        finding = self.findings.get(_span(sample))
        if finding is None or finding.reason:
            raise CorpusError(f"{sample.path}: not a usable sample. Prepare the corpus again.")
        if not self.how.takes_as_it_is(sample):
            stored = self.clips.load(finding.key)
            if stored is not None:
                return stored
        try:
            result = cut(sample, self.how)
        except EmoscopeError as error:
            reason = _reason(error, sample.path)
            raise CorpusError(
                f"{sample.path}: no longer readable ({reason}). Restore it."
            ) from None
        if result.material is None or result.note != finding.note:
            reason = result.reason or result.note or "it is longer"
            raise CorpusError(
                f"{sample.path}: no longer usable ({reason}). Prepare the corpus again."
            )
        if not self.how.takes_as_it_is(sample):
            with suppress(EmoscopeError):  # training goes on with a full disk
                if digest(sample.path) == finding.digest:  # else it is another recording
                    self.clips.store(finding.key, result)
        return result.material

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines about recordings that end early or could not be read this time."""
        kinds = (
            (self.shortened, "ends before the length in its header"),
            (self.unread, "could not be read and is left out this time"),
        )
        return tuple(
            f"{failures[0].path} {text}: {failures[0].reason}."
            + (f" {len(failures):,} recordings in all." if len(failures) > 1 else "")
            for failures, text in kinds
            if failures
        )

    @property
    def size_bytes(self) -> int:
        """The size of the clips in the cache."""
        return self.clips.size_bytes(finding.key for finding in self.findings.values())

    def report_lines(self) -> Iterator[str]:
        """Lines of the report: usable samples, failures by reason, frames without a face."""
        total = len(self.samples) + len(self.failures)
        yield f"usable: {len(self.samples):,} of {total:,} samples"
        by_reason: defaultdict[str, list[str]] = defaultdict(list)
        for failure in self.failures:
            by_reason[f"left out, {failure.reason}"].append(str(failure.path))
        for short in self.shortened:
            by_reason["used, but ends before the length in its header"].append(
                f"{short.path}: {short.reason}"
            )
        for reason, paths in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            yield f"{reason}: {len(paths):,}"
            yield from (f"  {path}" for path in paths[:_NAMED])
            if len(paths) > _NAMED:
                yield f"  and {len(paths) - _NAMED:,} more"
        if self.how.finds_faces:
            columns = zip(*(astuple(count) for count in self.report.values()), strict=True)
            yield self._faces_line(Counts(*map(sum, columns)))
            for label, counts in self.report.items():
                yield f"{label}: {self._faces_line(counts)}"

    def _faces_line(self, counts: Counts) -> str:
        target, frames = self.how.target, f"{counts.without_face:,} of {counts.frames:,} frames"
        if self.how.faces == "every-frame":
            return f"{frames} without a {target}"
        clips = f"{counts.faceless_clips:,} of {counts.clips:,} clips"
        return f"no {target} in {clips}, tracked {target} missing in {frames}"


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
    """Cut the clips of all samples and store them in `cache`.

    Stored clips are not cut again, so that an interrupted run continues where it stopped.

    detector     as in `Cutting`; "none": the frame is the face
    whole        keep all frames on the spec's time grid, for training with temporal jitter and
                 evaluation on every block; else those that its rule selects, with their flow
    faces        how faces are found, as in `Cutting`; also `min_frames`
    workers      number of processes; None: one per processor core, fewer for few clips; 1: all work
                 in this process
    progress     called with the number of samples done, and of all

    Samples that cannot be used are listed in `failures` and not tried again, unless their file was
    missing or the system could not read it. Raises UnknownName or MediaError for the detector,
    MediaError for a cache that cannot be written, SpecError for `faces`, EmoscopeError for a
    missing package.
    """
    how = Cutting(spec, detector, whole, faces, min_frames)
    create_detector(how.finder)  # at once, so that an error is raised and not a failure per sample
    clips, book = ClipCache(cache, how), DigestBook(cache)
    clips.sweep()
    spans = {_span(sample): sample for sample in samples}
    known = ((span, _known(clips, book, how, sample)) for span, sample in spans.items())
    findings = {span: finding for span, finding in known if finding is not None}
    todo = [sample for span, sample in spans.items() if span not in findings]
    if workers is None:
        workers = max(1, min(usable_processors(), len(todo) // _WORTH_A_PROCESS))
    progress = progress or (lambda done, total: None)
    progress(len(findings), len(spans))
    job = functools.partial(_find, clips, how)
    with closing(_find_all(job, todo, workers, book)) as results:
        for sample, finding in results:
            findings[_span(sample)] = finding
            progress(len(findings), len(spans))
    prepared = _prepared(samples, how, clips, findings)
    stored = [s for s in prepared.samples if not how.takes_as_it_is(s)]
    if stored:
        folder = os.path.commonpath([s.path.absolute().parent for s in stored])
        clips.record_set(f"{folder}: {how.title}", map(prepared.key, stored))
    return prepared


def _find_all(
    job: Callable[[Sample], Finding], todo: Sequence[Sample], workers: int, book: DigestBook
) -> Generator[tuple[Sample, Finding], None, None]:
    """Yield each sample with the job's finding, and put the digests into the book."""
    saved_s = time.monotonic()
    try:
        with closing(each_in_processes(job, todo, workers)) as results:
            for sample, result in results:
                finding = (
                    Finding(reason=f"reading it crashed (exit code {result.code})")
                    if isinstance(result, Crashed)
                    else result
                )
                # A still in the book is usable as it is: see `_known`.
                is_bad_still = is_image(sample.path) and finding.reason and not finding.is_faceless
                if finding.digest and not is_bad_still:
                    book.put(sample.path, finding.digest, finding.state)
                if time.monotonic() - saved_s > _SAVE_EVERY_S:
                    book.save()
                    saved_s = time.monotonic()
                yield sample, finding
    finally:
        with suppress(MediaError):  # without the digests the next run is only slower
            book.save()


def _known(clips: ClipCache, book: DigestBook, how: Cutting, sample: Sample) -> Finding | None:
    """The finding of an earlier run, without reading the recording, or of a missing file."""
    if not exists(sample.path):
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
    """Put the clip of a sample, or the reason why it cannot be cut, into the cache.

    Only results that the recording's content determines are kept, not those of a moment in which
    the system could not read it."""
    try:
        state = state_of(sample.path)
        content = digest(sample.path)
    except (EmoscopeError, OSError) as error:  # missing or locked: not remembered
        return Finding(reason=_reason(error, sample.path))
    key = clips.key(content, sample)
    known = clips.find(key)
    if known is not None:
        return replace(known, digest=content, state=state)
    try:
        result = cut(sample, how)
        if state_of(sample.path) != state:
            return Finding(reason="it changed while it was read")
    except (ReadError, OSError) as error:
        return Finding(reason=_reason(error, sample.path))
    except (MediaError, SpecError) as error:
        finding = Finding(key, _reason(error, sample.path), digest=content, state=state)
        if exists(sample.path):
            clips.remember(finding)
        return finding
    except EmoscopeError:
        raise  # a missing package is not a fault of the sample
    except Exception as error:  # an unexpected error of a decoder costs this file only
        return Finding(key, f"{type(error).__name__}: {error}".splitlines()[0])
    if result.note:  # the clip is not that of the whole recording
        key = clips.key(content, sample, result.note)
    finding = Finding(
        key,
        result.reason,
        result.frames,
        result.without_face,
        content,
        state,
        result.note,
    )
    if finding.reason:
        if not result.note:
            clips.remember(finding)
    elif not how.takes_as_it_is(sample):
        clips.store(key, result)
    return finding


def _prepared(
    samples: Sequence[Sample], how: Cutting, clips: ClipCache, findings: Mapping[_Span, Finding]
) -> Prepared:
    pairs = [(sample, findings[_span(sample)]) for sample in samples]
    tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample, finding in pairs:
        tallies[sample.label].update(
            clips=1,
            faceless_clips=finding.is_faceless,
            frames=finding.frames,
            without_face=finding.without_face,
        )
    return Prepared(
        samples=tuple(sample for sample, finding in pairs if not finding.reason),
        failures=tuple(Failure(s.path, s.label, f.reason) for s, f in pairs if f.reason),
        report={label: Counts(**tallies[label]) for label in sorted(tallies)},
        how=how,
        clips=clips,
        findings=findings,
        shortened=tuple(
            Failure(s.path, s.label, f.note) for s, f in pairs if f.note and not f.reason
        ),
        unread=tuple(
            Failure(s.path, s.label, f.reason) for s, f in pairs if f.reason and not f.digest
        ),
    )


def _span(sample: Sample) -> _Span:
    """The key of a sample's finding: samples of one span share it."""
    return sample.path, sample.start_s, sample.end_s, sample.fps


def _reason(error: Exception, path: Path) -> str:
    """The reason in an error message, without the path before it and the remedy after it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    message = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
    return message.partition(". ")[0].removesuffix(".")
