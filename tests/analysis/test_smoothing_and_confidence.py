"""`smooth_s` and `min_confidence`, from the Analyzer to the reports, live and from a file."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask
from making import make_video
from tiny_bundles import LABELS, answer, clip_bundle, image_bundle, voice_bundle

import emoscope
from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.smoothing import Smoother
from emoscope.analysis.stages import through
from emoscope.core.errors import SpecError
from emoscope.core.options import DEFAULT_SMOOTH_S
from emoscope.core.results import Timeline
from emoscope.media.video import read_frames
from emoscope.reports.formats import write_report

DARK, BRIGHT, BETWEEN = 0.05, 0.95, 0.62  # sure, sure, and middling by a half
LEVELS = [DARK] * 5 + [BETWEEN] * 5 + [DARK, BRIGHT] * 5


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s at 10 Hz: dark, then between, then flickering."""

    def picture(index: int) -> np.ndarray:
        return np.full((96, 128, 3), round(255 * LEVELS[index]), np.uint8)

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return make_video(path, num_frames=len(LEVELS), fps=10, picture=picture, options={"qp": "0"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_bundle(tmp_path_factory.mktemp("bundle") / "image.onnx")


def looking(bundle: Path, **options: Any) -> Analyzer:
    return Analyzer(bundle, detector="none", **options)


# Smoothing


def test_an_image_model_is_smoothed_by_default(bundle: Path, film: Path) -> None:
    plain = looking(bundle, smooth_s=0).analyze(film)
    assert plain.provenance.smooth_s == 0
    assert plain.probs == pytest.approx(np.array([answer(x) for x in LEVELS]), abs=0.02)
    timeline = looking(bundle).analyze(film)
    assert timeline.provenance.smooth_s == DEFAULT_SMOOTH_S
    np.testing.assert_allclose(timeline.probs, plain.smooth(DEFAULT_SMOOTH_S).probs, atol=1e-12)


def test_smoothing_removes_flicker(bundle: Path, film: Path) -> None:
    def changes(timeline: Timeline) -> int:
        return sum(a != b for a, b in itertools.pairwise(timeline.leading))

    rough, calm = (looking(bundle, smooth_s=s).analyze(film) for s in (0, 1.0))
    assert changes(rough) > 10 > 4 >= changes(calm)


def test_a_clip_model_is_smoothed_on_request(tmp_path: Path, film: Path) -> None:
    path = clip_bundle(tmp_path / "clip.onnx")
    plain, asked = Analyzer(path).analyze(film), Analyzer(path, smooth_s=1.0).analyze(film)
    assert (plain.provenance.smooth_s, asked.provenance.smooth_s) == (0, 1)
    np.testing.assert_allclose(asked.probs, plain.smooth(1.0).probs)


@pytest.mark.parametrize("smooth_s", [0.1, 0.25, 0.5, 3.0])
@pytest.mark.parametrize("is_clip", [False, True])
def test_live_rows_are_those_of_the_file(
    bundle: Path, film: Path, tmp_path: Path, smooth_s: float, is_clip: bool
) -> None:
    path = clip_bundle(tmp_path / "clip.onnx") if is_clip else bundle
    analyzer = looking(path, smooth_s=smooth_s, min_confidence=0.6)
    whole, parts = analyzer.analyze(film), list(analyzer.stream(read_frames(film)))
    live = Timeline.concatenate(parts)
    np.testing.assert_allclose(live.probs, whole.probs, atol=1e-9)
    np.testing.assert_array_equal(live.spans_s[:, 0], whole.spans_s[:, 0])
    assert live.leading == whole.leading
    assert live.provenance.smooth_s == smooth_s


def test_a_live_row_is_final_half_a_window_later() -> None:
    arrived: list[int] = []

    def arriving() -> Any:
        for k in range(8):
            arrived.append(k)
            yield part_at(k)

    given: list[tuple[float, int]] = []
    for rows in through(Smoother(0.5), arriving()):
        given += [(float(start), len(arrived)) for start in rows.spans_s[:, 0]]
    assert [start for start, _ in given] == pytest.approx([k / 10 for k in range(8)])
    assert [came for _, came in given] == [4, 5, 6, 7, 8, 8, 8, 8]


def part_at(k: int) -> Timeline:
    """A tenth of a second of one face."""
    return Timeline(
        spans_s=np.array([[k / 10, (k + 1) / 10]]),
        track=np.zeros(1, int),
        boxes_xyxy=np.zeros((1, 4)),
        probs=np.array([[0.7, 0.2, 0.1]]),
        modalities=np.array(["face"]),
        labels=LABELS,
        padded=np.zeros(1, bool),
    )


def test_an_hour_of_live_rows_keeps_little_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    plain = Timeline.smooth

    def watched(rows: Timeline, window_s: float) -> Timeline:
        nonlocal most
        most = max(most, len(rows))
        return plain(rows, window_s)

    monkeypatch.setattr(Timeline, "smooth", watched)
    assert sum(map(len, through(Smoother(0.5), map(part_at, range(300))))) == 300
    assert most <= 10


# Minimum confidence


def test_smoothing_comes_before_the_minimum_confidence(bundle: Path, film: Path) -> None:
    """The mean of two confident, opposite predictions is confident of neither."""
    options = {"min_confidence": 0.75}
    rough, calm = (looking(bundle, smooth_s=s, **options).analyze(film) for s in (0, 1.0))
    assert "" not in rough.leading[-8:]
    assert set(calm.leading[-6:-3]) == {""}
    assert set(rough.leading[5:10]) == {""}


def test_probabilities_do_not_depend_on_the_minimum_confidence(bundle: Path, film: Path) -> None:
    plain, careful = (looking(bundle, min_confidence=p).analyze(film) for p in (0.0, 0.9))
    np.testing.assert_array_equal(plain.probs, careful.probs)
    assert "" not in plain.leading
    assert "" in careful.leading


def test_every_report_respects_the_minimum_confidence(
    bundle: Path, film: Path, tmp_path: Path
) -> None:
    timeline = looking(bundle, smooth_s=0, min_confidence=0.75).analyze(film)
    report, table, page = write_report(timeline, tmp_path, ["json", "csv", "html"], video=film)
    document = json.loads(report.read_text())
    assert document["provenance"]["min_confidence"] == 0.75
    assert document["rows"][6]["leading"] is None
    assert document["rows"][6]["probabilities"]["bright"] == pytest.approx(timeline.probs[6, 2])
    assert document["summary"][0]["leading"] is None
    assert sum(document["summary"][0]["shares"].values()) == pytest.approx(0.75)
    assert not any(0.5 <= one["start_s"] < 1.0 for one in document["segments"])
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[6]["leading"] == ""
    assert float(rows[6]["bright"]) == pytest.approx(timeline.probs[6, 2], abs=1e-6)
    text = page.read_text()
    assert "<b>unsure</b> on average, with less weight on neutral moments" in text
    assert "</i>unsure <b>25\u00a0%</b>" in text
    assert "<dt>Minimum confidence</dt><dd>75%</dd>" in text
    assert "<dt>Smoothing</dt>" not in text


def test_a_page_without_unsure_rows_does_not_mention_them(
    bundle: Path, film: Path, tmp_path: Path
) -> None:
    (page,) = write_report(looking(bundle).analyze(film), tmp_path, ["html"])
    text = page.read_text()
    assert ">unsure <" not in text
    assert "Minimum confidence" not in text
    assert f"<dt>Smoothing</dt><dd>{DEFAULT_SMOOTH_S:g} s</dd>" in text


def test_a_system_smooths_its_members_and_thresholds_the_fused_rows(
    tmp_path: Path,
) -> None:
    pytest.importorskip("opensmile")
    image_bundle(tmp_path / "face.onnx", name="face")
    voice_bundle(tmp_path / "voice.onnx", name="voice")
    members = "".join(f'[[members]]\nmodel = "{name}.onnx"\n' for name in ("face", "voice"))
    system = tmp_path / "both.toml"
    system.write_text(f'name = "both"\nlabels = {json.dumps(LABELS)}\n{members}')
    film = make_video(tmp_path / "film.mp4", num_frames=40, sound_s=1.6)
    options = {"detector": "none", "smooth_s": 0.7}
    plain = emoscope.analyze(film, system, **options)
    careful = emoscope.analyze(film, system, **options, min_confidence=0.6)
    assert (careful.provenance.smooth_s, careful.provenance.min_confidence) == (0.7, 0.6)
    np.testing.assert_array_equal(careful.probs, plain.probs)
    sure = plain.probs.max(axis=1) >= 0.6
    assert 0 < sure.sum() < len(sure)
    assert [label != "" for label in careful.leading] == sure.tolist()
    voice = Analyzer(tmp_path / "voice.onnx")
    rough, calm = (
        voice.analyze(film),
        Analyzer(tmp_path / "voice.onnx", smooth_s=0.7).analyze(film),
    )
    np.testing.assert_allclose(calm.probs, rough.smooth(0.7).probs)


# The command line


def test_the_command_line_and_python_agree(bundle: Path, film: Path) -> None:
    words = ["--model", bundle, "--detector", "none", "--smooth", "0.3", "--min-confidence", "0.7"]
    ran = ask("analyze", film, "--json", *words)
    options = {"detector": "none", "smooth_s": 0.3, "min_confidence": 0.7}
    expected = emoscope.analyze(film, bundle, **options)
    assert json.loads(ran.stdout) == json.loads(json.dumps(expected.to_dict()))


def test_the_line_of_a_file_marks_unsure_faces(bundle: Path, film: Path) -> None:
    words = ["--model", bundle, "--detector", "none", "--min-confidence", "0.95"]
    ran = ask("analyze", film, *words)
    assert ": 1 face; #0 unsure: dark " in ran.stderr


def test_help_names_the_default() -> None:
    report = " ".join(ask("analyze", "--help").stdout.split())
    assert f"By default {DEFAULT_SMOOTH_S:g} for image models" in report


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--min-confidence", "1.5"], 2),
        (["--min-confidence", "-0.1"], 2),
        (["--min-confidence", "nan"], 2),
        (["--min-confidence", "much"], 2),
        (["--smooth", "-1"], 2),
        (["--smooth", "nan"], 2),
        (["--smooth", "inf"], 1),
    ],
)
def test_an_invalid_value_is_one_error(
    bundle: Path, film: Path, words: list[str], code: int
) -> None:
    ran = ask("analyze", film, "--model", bundle, *words)
    assert ran.exit_code == code
    assert words[0].strip("-").replace("-", "_") in ran.stderr.replace("-", "_")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("options", [{"smooth_s": s} for s in (-1.0, float("inf"), float("nan"))])
def test_an_invalid_smoothing_window_is_refused(bundle: Path, options: Any) -> None:
    with pytest.raises(SpecError, match="Option smooth_s: Input should be"):
        Analyzer(bundle, **options)


@pytest.mark.parametrize("least", [-0.01, 1.01, float("nan")])
def test_an_invalid_minimum_confidence_is_refused(bundle: Path, least: float) -> None:
    with pytest.raises(SpecError, match="Option min_confidence: Input should be"):
        Analyzer(bundle, min_confidence=least)
