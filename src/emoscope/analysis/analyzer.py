"""The public interface of the analysis: `Analyzer` and `analyze`, for single models and systems."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Unpack

from emoscope.analysis.bundle import Bundle, bundle_names, installed_models, load_bundle
from emoscope.analysis.bundle_analyzer import BundleAnalyzer, Progress, Watch
from emoscope.analysis.session import Session
from emoscope.analysis.system import System, SystemAnalyzer, is_system
from emoscope.core.errors import MediaError
from emoscope.core.options import DEFAULT_MODEL, AnalyzeKeywords, AnalyzeOptions
from emoscope.core.results import Timeline
from emoscope.media.reading.container import SOUND_SUFFIXES, existing, open_media
from emoscope.media.reading.images import film_images
from emoscope.media.video import Frame

__all__ = ["Analyzer", "analyze"]

Model = str | Path | Bundle | System


class Analyzer:
    """A model or a system of several models, opened once for any number of videos.

    model      name of an installed bundle or system, path of one (.onnx, .toml), a run folder with
               an exported bundle, or the object itself
    options    options of the analysis; single options may also be given as keywords, which take
               precedence

    It may be shared by several threads: each video has its own tracker and a detector to itself, so
    the results are those of one thread. A pickled Analyzer opens its model again, so processes can
    map `analyzer.analyze` too. Raises UnknownName, BundleError, SpecError or MediaError if the
    model, its detector or an option cannot be used.

    >>> analyzer = Analyzer("face-ferplus", detector="none", rate_hz=5)
    >>> analyzer.options.vote, analyzer.options.smooth_s
    ('expressive-weighted', 0.5)
    >>> timeline = analyzer.analyze("talk.mp4")  # doctest: +SKIP
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(4) as pool:  # doctest: +SKIP
    ...     timelines = list(pool.map(analyzer.analyze, ["talk.mp4", "walk.mp4"]))
    """

    def __init__(
        self,
        model: Model = DEFAULT_MODEL,
        options: AnalyzeOptions = AnalyzeOptions(),
        **keywords: Unpack[AnalyzeKeywords],
    ) -> None:
        options = options.replace(**keywords)
        self._model, self._given = model, options
        self._analyzer: BundleAnalyzer | SystemAnalyzer
        if isinstance(model, System) or (not isinstance(model, Bundle) and is_system(model)):
            self._analyzer = SystemAnalyzer(model, options)
        else:
            self._analyzer = BundleAnalyzer(model, options)

    @property
    def options(self) -> AnalyzeOptions:
        """The options, with the model's own defaults in place of None."""
        return self._analyzer.options

    @property
    def name(self) -> str:
        """Name of the model or system."""
        return self._analyzer.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels, in the order of the probabilities."""
        return self._analyzer.labels

    @property
    def looks(self) -> bool:
        """Whether the model, or a member of the system, uses pictures."""
        return self._analyzer.looks

    @property
    def listens(self) -> bool:
        """Whether the model, or a member of the system, uses sound."""
        return self._analyzer.listens

    @property
    def uses_rate(self) -> bool:
        """Whether single frames are analysed, `rate_hz` of them a second."""
        return self._analyzer.uses_rate

    def analyze(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Timeline:
        """Analyse a recording, or a span of it.

        path            a video, an image or a folder of numbered images, which is read as a film
                        at 25 fps; a sound file for models of sound alone
        start_s, end_s  the span in seconds; None is the end of the recording
        progress        called with the seconds of video analysed so far
        watch           called with every moment analysed (`analysis.moments.Moment`)

        A video without sound has no voice: its rows come from the face alone, or have no
        probabilities if the model uses sound alone. A note in the provenance says so. Raises
        MediaError for a file that cannot be read, and for a folder of separate pictures.

        >>> analyzer = Analyzer("face-ferplus")
        >>> timeline = analyzer.analyze("talk.mp4", start_s=10, end_s=20)  # doctest: +SKIP
        """
        if self.looks and existing(path).is_dir():
            film_images(Path(path))
        try:
            return self._analyzer.analyze(
                path, start_s=start_s, end_s=end_s, progress=progress, watch=watch
            )
        except MediaError as error:
            if self.looks and _is_sound_only(Path(path)):
                raise MediaError(f"{error} {_voice_models()}") from None
            raise

    def stream(self, frames: Iterable[Frame]) -> Iterator[Timeline]:
        """Analyse live frames: yields a Timeline of the rows that have become final.

        The rows are those that `analyze` gives for a file. A row of an image model is final when
        the next frame is analysed, that of a clip model when the last window that covers it is
        complete; with smoothing, half of `smooth_s` later. Frames closer together than `rate_hz`
        are skipped.

        Raises SpecError for a model that uses sound, and for a frame that `Session.push` refuses:
        pictures are RGB, (H, W, 3) uint8, and times start at 0 or later and never go back.

        >>> import numpy as np
        >>> from emoscope.media.video import Frame
        >>> analyzer = Analyzer("face-ferplus", detector="none", rate_hz=None, smooth_s=0)
        >>> camera = (Frame(np.zeros((48, 64, 3), np.uint8), k / 25, k) for k in range(3))
        >>> [part.spans_s[0].tolist() for part in analyzer.stream(camera)]
        [[0.0, 0.04], [0.04, 0.08], [0.08, 0.12]]
        """
        return self._analyzer.stream(frames)

    def session(self) -> Session:
        """Analyse plain arrays as they arrive, with the rows of `stream`.

        Raises SpecError for a model that uses sound.

        >>> import numpy as np
        >>> session = Analyzer("face-ferplus", detector="none", rate_hz=None, smooth_s=0).session()
        >>> picture = np.zeros((48, 64, 3), np.uint8)  # red, green, blue
        >>> len(session.push(picture, 0.0)), len(session.push(picture, 0.04))
        (0, 1)
        >>> session.finish().spans_s.tolist()
        [[0.04, 0.08]]
        """
        return self._analyzer.session()

    def __reduce__(self) -> tuple[Any, ...]:
        return Analyzer, (self._model, self._given)


def analyze(
    path: str | Path,
    model: Model = DEFAULT_MODEL,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    **options: Unpack[AnalyzeKeywords],
) -> Timeline:
    """Analyse the emotions in one video, or in a span of it.

    path            as `Analyzer.analyze` takes it
    model           as `Analyzer` takes it
    start_s, end_s  the span in seconds; None is the end of the recording
    options         fields of AnalyzeOptions

    For several videos, use one Analyzer: it opens the model only once. Raises UnknownName,
    BundleError, SpecError or MediaError, all of which are EmoscopeError.

    >>> timeline = analyze("talk.mp4", rate_hz=5, smooth_s=1.0)  # doctest: +SKIP
    >>> for segment in timeline.segments():  # doctest: +SKIP
    ...     print(segment.track, segment.start_s, segment.end_s, segment.label)
    0 0.0 7.8 sadness
    0 7.8 8.4 fear
    """
    return Analyzer(model, **options).analyze(path, start_s=start_s, end_s=end_s)


def _is_sound_only(path: Path) -> bool:
    try:
        with open_media(path) as container:
            streams = container.streams
            # The picture in a sound file is its cover.
            return bool(streams.audio) and (
                not streams.video or path.suffix.lower() in SOUND_SUFFIXES
            )
    except MediaError:
        return False


def _voice_models() -> str:
    """Which model to use for a sound file: one that is installed, or the package to install."""
    voices = [name for name in bundle_names() if not load_bundle(name).clip_spec.frame_streams]
    if voices:
        return f"Or choose a voice model: {', '.join(voices)}."
    installed = installed_models()
    systems = [System.read(name) for name in installed if installed[name].suffix == ".toml"]
    packages = {m.package for system in systems for m in system.members if m.package}
    return f"Or install a voice model, from the package {' or '.join(sorted(packages))}."
