"""The analysis of videos or sound with one model."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.analysis.moments import Moment, moments
from emoscope.analysis.rows import frame_rows, window_rows
from emoscope.analysis.smoothing import smoothed
from emoscope.analysis.voice import hearings, sound_beside, sound_or_silence
from emoscope.core.errors import MediaError, SpecError
from emoscope.core.options import DEFAULT_SMOOTH_S, AnalyzeOptions
from emoscope.core.provenance import Provenance
from emoscope.core.results import Timeline
from emoscope.core.version import VERSION
from emoscope.core.votes import DEFAULT_FRAME_VOTE, DEFAULT_VOTE
from emoscope.media.detectors import create_detector
from emoscope.media.people.sightings import MAX_SIDE_PX, detector_for
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.reading.decoding import Grid
from emoscope.media.reading.prefetch import prefetched
from emoscope.media.sound.audio import Sound
from emoscope.media.video import Frame, VideoInfo, probe, read_frames

__all__ = ["BundleAnalyzer", "Progress", "Watch"]

_BATCH = 16  # moments whose faces go through an image model in one call
_AHEAD = 8  # frames decoded in advance

Progress = Callable[[float], object]  # called with the seconds of video analysed so far
Watch = Callable[[Moment], object]  # called with every moment analysed


class BundleAnalyzer:
    """One model with its detector, for any number of videos.

    `options` are those given, with the model's own defaults in place of None. An option that the
    model does not use keeps its value: `rate_hz` of a clip model, for example.

    A clip model takes all frames, whatever the rate: its faces are tracked through every frame, as
    they were in training. A tracker that sees fewer frames gives other crops and other gaps.

    Raises UnknownName, BundleError, SpecError or MediaError if the model or the detector cannot be
    opened.
    """

    def __init__(self, model: str | Path | Bundle, options: AnalyzeOptions) -> None:
        if options.speaker is not None:
            name = model.name if isinstance(model, Bundle) else model
            raise SpecError(
                f"{name}: the option 'speaker' is for systems of a face and a voice model, but "
                "this is a single model. Leave it out."
            )
        self.bundle = model if isinstance(model, Bundle) else load_bundle(model, options.backend)
        spec = self.bundle.clip_spec
        is_image = spec.is_image
        self.options = options.replace(
            vote=options.vote or (DEFAULT_FRAME_VOTE if is_image else DEFAULT_VOTE),
            smooth_s=(DEFAULT_SMOOTH_S if is_image else 0.0)
            if options.smooth_s is None
            else options.smooth_s,
        )
        detector = detector_for(spec, options.detector)
        self.detector = create_detector(detector)
        # build_clip applies a clip model's time grid to all frames; two grids would interfere.
        self._rate_hz = options.rate_hz if is_image else None
        self._provenance = Provenance.from_options(
            self.options,
            model=self.bundle.name,
            model_version=self.bundle.card.version,
            backend=self.bundle.backend,
            detector=detector if spec.frame_streams and spec.region != "frame" else "",
            rate_hz=options.rate_hz if is_image else spec.rate_hz,
            emoscope=VERSION,
        )

    @property
    def name(self) -> str:
        return self.bundle.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.labels

    @property
    def looks(self) -> bool:
        """Whether the model uses pictures."""
        return bool(self.bundle.clip_spec.frame_streams)

    @property
    def listens(self) -> bool:
        """Whether the model uses sound."""
        return bool(self.bundle.clip_spec.audio_streams)

    @property
    def uses_rate(self) -> bool:
        """Whether the model analyses single frames, `rate_hz` of them a second."""
        return self.bundle.clip_spec.is_image

    def analyze(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Timeline:
        """The Timeline of a recording; see `Analyzer.analyze`."""
        path = Path(path)
        if not self.looks:
            sound, notes = sound_or_silence(path, start_s, end_s)
            info = _sound_info(path, sound if end_s is None else None)
            timeline = self.analyze_sound(sound, progress)
        else:
            info, audio, notes = probe(path), None, ()
            if self.listens:
                audio, notes = sound_beside(path, start_s, end_s)
            seen = _reporting(self._moments(info, start_s, end_s), progress, watch)
            timeline = self._smooth(Timeline.concatenate(self._rows(seen, _BATCH, audio)))
        if padded := int(timeline.padded.sum()):
            notes = (
                *notes,
                f"{padded} of {len(timeline)} rows come from clips shorter than the model needs,"
                " padded by repeating frames",
            )
        provenance = replace(
            self._provenance,
            path=str(info.path),
            start_s=start_s,
            end_s=end_s,
            duration_s=info.duration_s,
            fps=info.fps,
            width=info.width,
            height=info.height,
            notes=notes,
        )
        return replace(timeline, provenance=provenance)

    def analyze_sound(self, sound: Sound, progress: Progress | None = None) -> Timeline:
        """The rows of a voice model for some sound, without their provenance."""
        windows = hearings(sound, self.bundle.clip_spec.window.stride_s)
        rows = self._rows(_reporting(windows, progress), _BATCH, sound)
        return self._smooth(Timeline.concatenate(rows))

    def stream(self, frames: Iterable[Frame]) -> Iterator[Timeline]:
        """Timelines of the rows that become final; see `Analyzer.stream`."""
        if self.listens:
            raise SpecError(
                f"{self.name} needs sound, and live frames have none. Analyse a file instead."
            )
        grid = Grid(self._rate_hz)
        taken = (frame for frame in frames if grid.takes(frame.time_s))
        spec = self.bundle.clip_spec
        seen = moments(taken, spec, FaceTracker(self.detector), rate_hz=self._rate_hz)
        rows = self._rows(seen, batch=1)
        smooth_s = self.options.smooth_s
        for part in smoothed(rows, smooth_s) if smooth_s else rows:
            yield replace(part, provenance=self._provenance)

    def _moments(self, info: VideoInfo, start_s: float, end_s: float | None) -> Iterator[Moment]:
        frames = read_frames(
            info.path, rate_hz=self._rate_hz, start_s=start_s, end_s=end_s, max_side=MAX_SIDE_PX
        )
        ahead = prefetched(frames, _AHEAD)
        first = next(ahead, None)
        if first is None:
            raise MediaError(
                f"{info.path}: no frame starts in the requested span. Give a longer span."
            )
        until_s = min(
            math.inf if end_s is None else end_s,
            math.inf if math.isnan(info.duration_s) else info.duration_s,
        )
        return moments(
            itertools.chain([first], ahead),
            self.bundle.clip_spec,
            FaceTracker(self.detector),
            scale=info.width / first.rgb.shape[1],
            rate_hz=self._rate_hz,
            until_s=until_s,
        )

    def _rows(
        self, seen: Iterable[Moment], batch: int, sound: Sound | None = None
    ) -> Iterator[Timeline]:
        def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
            return self.bundle.predict(inputs, prior=self.options.prior)

        spec, labels, modality = (
            self.bundle.clip_spec,
            self.bundle.labels,
            self.bundle.card.modality,
        )
        if spec.is_image:
            return frame_rows(seen, spec, predict, labels, modality, batch)
        vote = self.options.vote or DEFAULT_VOTE
        return window_rows(seen, spec, predict, labels, modality, sound, vote)

    def _smooth(self, timeline: Timeline) -> Timeline:
        return timeline.smooth(self.options.smooth_s) if self.options.smooth_s else timeline


def _sound_info(path: Path, whole: Sound | None) -> VideoInfo:
    """Information on a file whose sound is analysed; it may have no readable picture."""
    try:
        return probe(path)
    except MediaError:
        return VideoInfo(path, 0, 0, duration_s=whole.end_s if whole else math.nan, has_sound=True)


def _reporting(
    seen: Iterable[Moment], progress: Progress | None, watch: Watch | None = None
) -> Iterator[Moment]:
    for moment in seen:
        if watch is not None:
            watch(moment)
        yield moment
        if progress is not None:
            progress(moment.end_s)
