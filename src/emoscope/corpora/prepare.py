"""Prepare corpora for training: detect faces, cut and cache clips once, report failures."""

import functools
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
from emoscope.corpora.cutting import Cutting, Faces, cut
from emoscope.corpora.manifest import Sample, digest
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
    """The usable samples of a corpus in its order, with their clips; failures; counts by label."""

    samples: tuple[Sample, ...]
    failures: tuple[Failure, ...]
    report: Mapping[str, Counts]
    how: Cutting
    clips: ClipCache
    findings: Mapping[_Span, Finding]

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
        if result.material is None:
            raise CorpusError(
                f"{sample.path}: no longer usable ({result.reason}). Prepare the corpus again."
            )
        if not self.how.takes_as_it_is(sample):
            with suppress(EmoscopeError):  # training goes on with a full disk
                if digest(sample.path) == finding.digest:  # else it is another recording
                    self.clips.store(finding.key, result)
        return result.material

    def report_lines(self) -> Iterator[str]:
        """Lines of the report: usable samples, failures by reason, frames without a face."""
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
    missing. Raises UnknownName or MediaError for the detector, MediaError for a cache that cannot
    be written, SpecError for `faces`, EmoscopeError for a missing package.
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
    return _prepared(samples, how, clips, findings)


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
                    book.put(sample.path, finding.digest)
                if time.monotonic() - saved_s > _SAVE_EVERY_S:
                    book.save()
                    saved_s = time.monotonic()
                yield sample, finding
    finally:
        with suppress(MediaError):  # without the digests the next run is only slower
            book.save()


def _known(clips: ClipCache, book: DigestBook, how: Cutting, sample: Sample) -> Finding | None:
    """The finding of an earlier run, without reading the recording, or of a missing file."""
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
    """Put the clip of a sample, or the reason why it cannot be cut, into the cache."""
    try:
        content = digest(sample.path)
    except EmoscopeError as error:  # missing: not remembered, as the file may come back
        return Finding(reason=_reason(error, sample.path))
    key = clips.key(content, sample)
    known = clips.find(key)
    if known is not None:
        return replace(known, digest=content)
    try:
        result = cut(sample, how)
    except (MediaError, SpecError) as error:
        finding = Finding(key, _reason(error, sample.path), digest=content)
        if sample.path.exists():
            clips.remember(finding)
        return finding
    except EmoscopeError:
        raise  # a missing package is not a fault of the sample
    except Exception as error:  # an unexpected error of a decoder costs this file only
        return Finding(key, f"{type(error).__name__}: {error}".splitlines()[0])
    finding = Finding(key, result.reason, result.frames, result.without_face, content)
    if finding.reason:
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
    )


def _span(sample: Sample) -> _Span:
    """The key of a sample's finding: samples of one span share it."""
    return sample.path, sample.start_s, sample.end_s, sample.fps


def _reason(error: EmoscopeError, path: Path) -> str:
    """The reason in an error message, without the path before it and the remedy after it."""
    message = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
    return message.partition(". ")[0].removesuffix(".")
