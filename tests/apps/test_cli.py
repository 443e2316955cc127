import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask, lines, names
from making import grey_of, make_image_folder, make_sound
from pydantic import Field
from tiny_bundles import answer

import emoscope
from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import BACKENDS, bundle_names
from emoscope.core.options import AnalyzeOptions
from emoscope.core.registry import Registry
from emoscope.core.votes import VOTES
from emoscope.media.detectors import DETECTORS
from emoscope.reports.formats import FORMATS

Analyze = Callable[..., Any]  # -> the runner's result


# One line per file


def test_each_file_is_printed_in_one_line(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "dark.mp4", media / "bright.mp4")
    assert ran.exit_code == 0
    assert ran.stdout == ""
    dark, bright = lines(ran.stderr)
    assert re.fullmatch(rf"{media}/dark\.mp4: 1 face; #0 dark \d+%, .* \(0\.5 s\)", dark)
    shares = re.fullmatch(rf"{media}/bright\.mp4: 1 face; #0 bright (\d+)%, middling .*", bright)
    assert shares
    assert int(shares[1]) == pytest.approx(100 * answer(grey_of(20) / 255)[2], abs=2)


def test_a_video_without_a_face_is_reported(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "dark.mp4", "--detector", "haar")
    assert lines(ran.stderr) == [f"{media}/dark.mp4: no face seen"]
    assert ran.exit_code == 0


def test_quiet_prints_nothing(analyze: Analyze, media: Path, tmp_path: Path) -> None:
    ran = analyze(media / "dark.mp4", "--quiet", "--out", tmp_path, env={"FORCE_COLOR": "1"})
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")
    assert "dark.json" in names(tmp_path)


def test_quiet_still_names_what_failed(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "text.mp4", "-q")
    assert ran.exit_code == 1
    assert len(lines(ran.stderr)) == 1


@pytest.mark.parametrize("name", ["[bold]:smile:.mp4", "[.mp4", "a b.mp4", "été.mp4"])
@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1", "TERM": "xterm"}])
def test_names_are_printed_as_they_are(
    analyze: Analyze, media: Path, tmp_path: Path, name: str, env: dict[str, str]
) -> None:
    """Also beside the progress bar, which FORCE_COLOR switches on."""
    path = tmp_path / name
    path.write_bytes((media / "dark.mp4").read_bytes())
    ran = analyze(path, env=env)
    assert ran.exit_code == 0
    assert f"{path}: 1 face" in ran.stderr
    assert (f"{name} ━" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.stderr)) == bool(env)


def test_a_file_name_that_is_not_text_is_read(
    analyze: Analyze, media: Path, tmp_path: Path
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))
    path.write_bytes((media / "dark.mp4").read_bytes())
    code = "from emoscope.apps.cli import main; main()"
    words = ["analyze", path, "--model", media / "image.onnx", "--detector", "none", "--json"]
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["provenance"]["path"] == str(path)


# Reports


def test_out_gets_a_file_of_each_default_format(
    analyze: Analyze, media: Path, tmp_path: Path
) -> None:
    ran = analyze(media / "dark.mp4", media / "bright.mp4", "--out", tmp_path / "new" / "folder")
    assert ran.exit_code == 0
    expected = [f"{stem}.{kind}" for stem in ("bright", "dark") for kind in ("csv", "html", "json")]
    assert names(tmp_path / "new" / "folder") == expected


def test_format_chooses_what_is_written(analyze: Analyze, media: Path, tmp_path: Path) -> None:
    formats = "mp4, csv,parquet,csv"
    assert analyze(media / "dark.mp4", "--out", tmp_path, "--format", formats).exit_code == 0
    assert names(tmp_path) == ["dark.annotated.mp4", "dark.csv", "dark.parquet"]


def test_format_without_out_writes_into_the_current_folder(
    analyze: Analyze, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert analyze(media / "dark.mp4", "--format", "json").exit_code == 0
    assert names(tmp_path) == ["dark.json"]


def test_without_out_and_format_nothing_is_written(
    analyze: Analyze, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = names(media)
    assert analyze(media / "dark.mp4").exit_code == 0
    assert (names(tmp_path), names(media)) == ([], before)


def test_inputs_of_the_same_name_have_separate_reports(
    analyze: Analyze, media: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        source = media / ("bright.mp4" if folder == "b" else "dark.mp4")
        (tmp_path / folder / "clip.mp4").write_bytes(source.read_bytes())
    clips = [tmp_path / folder / "clip.mp4" for folder in ("a", "b", "c")]
    out = tmp_path / "out"
    assert analyze(*clips, "--out", out, "--format", "json").exit_code == 0
    shown = {json.loads((out / name).read_text())["provenance"]["path"] for name in names(out)}
    assert shown == {str(clip) for clip in clips}
    assert json.loads((out / "clip.json").read_text())["provenance"]["path"] == str(clips[0])


def test_a_folder_stands_for_its_videos(analyze: Analyze, media: Path, tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MP4", "._a.mp4", "notes.txt", "a.annotated.mp4"):
        (tmp_path / name).write_bytes((media / "dark.mp4").read_bytes())
    (tmp_path / "deeper.mp4").mkdir()
    ran = analyze(tmp_path)
    assert ran.exit_code == 0
    assert [line.split(": ")[0] for line in lines(ran.stderr)] == [
        str(tmp_path / "a.MP4"),
        str(tmp_path / "b.mp4"),
    ]


def test_a_folder_of_images_is_one_video(analyze: Analyze, tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "images", num_images=5)
    ran = analyze(folder, "--json", "--rate", "native")
    assert len(json.loads(ran.stdout)["rows"]) == 5


# JSON on standard output, and the same from Python


@pytest.mark.parametrize("model", ["image.onnx", "clip.onnx"])
def test_the_command_line_and_python_agree(analyze: Analyze, media: Path, model: str) -> None:
    files = [media / "dark.mp4", media / "bright.mp4"]
    ran = analyze(*files, "--json", "--model", media / model)
    assert ran.exit_code == 0
    analyzer = Analyzer(media / model, detector="none")
    expected = [json.loads(json.dumps(analyzer.analyze(file).to_dict())) for file in files]
    assert [json.loads(line) for line in lines(ran.stdout)] == expected


@pytest.mark.parametrize(
    ("words", "options", "span"),
    [
        (["--rate", "native"], {"rate_hz": None}, {}),
        (["--rate", "4"], {"rate_hz": 4.0}, {}),
        (["--start", "0.1", "--end", "0.4"], {}, {"start_s": 0.1, "end_s": 0.4}),
        (["--prior", "train"], {"prior": "train"}, {}),
        (["--vote", "max-probability"], {"vote": "max-probability"}, {}),
        (["--backend", "openvino"], {"backend": "openvino"}, {}),
        (["--detector", "haar"], {"detector": "haar"}, {}),
    ],
)
def test_options_are_the_same_on_the_command_line_and_in_python(
    analyze: Analyze, media: Path, words: list[str], options: Any, span: Any
) -> None:
    if "openvino" in words:
        pytest.importorskip("openvino")
    ran = analyze(media / "dark.mp4", "--json", *words)
    options = {"detector": "none", **options}
    expected = emoscope.analyze(media / "dark.mp4", media / "image.onnx", **options, **span)
    assert json.loads(ran.stdout) == json.loads(json.dumps(expected.to_dict()))


def test_every_option_of_an_analysis_is_on_the_command_line_with_its_description() -> None:
    shown = "".join(ask("analyze", "--help").stdout.split())
    flags = {
        "rate_hz": "--rate HZ",
        "window_s": "--window SECONDS",
        "stride_s": "--stride SECONDS",
        "smooth_s": "--smooth SECONDS",
    }
    for name, field in AnalyzeOptions.model_fields.items():
        description = str(field.description).replace("None", "native")
        for text in (flags.get(name, f"--{name.replace('_', '-')}"), description):
            assert "".join(text.split()) in shown


def test_a_further_option_is_on_the_command_line_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class More(AnalyzeOptions, frozen=True):
        warm_up_s: float | None = Field(default=None, ge=0, description="Seconds to skip.")

    monkeypatch.setattr("emoscope.core.options.AnalyzeOptions", More)
    shown = ask("analyze", "--help").stdout
    assert re.search(r"--warm-up SECONDS +Seconds to skip\. +\[at least 0\]", shown)


@pytest.mark.parametrize("registry", [DETECTORS, BACKENDS, VOTES, FORMATS])
def test_help_lists_the_names_of_a_registry(registry: Registry[Any]) -> None:
    text = " ".join(ask("analyze", "--help").stdout.split())
    assert ", ".join(registry) in text.replace("- ", "-")  # lines are also broken after a hyphen


def test_only_a_rate_that_was_given_is_warned_about(analyze: Analyze, media: Path) -> None:
    """With a clip model, which has its own windows."""
    words = (media / "dark.mp4", "--model", media / "clip.onnx")
    assert "--rate has no effect" in analyze(*words, "--rate", "10").stderr
    assert "--rate" not in analyze(*words).stderr


def test_a_sound_file_names_the_voice_models(analyze: Analyze, tmp_path: Path) -> None:
    ran = analyze(make_sound(tmp_path / "talk.wav"))
    assert ran.exit_code == 1
    (line,) = lines(ran.stderr)
    assert line.startswith(f"emoscope: {tmp_path}/talk.wav: the file has sound but no picture. ")
    voices = [
        name for name in bundle_names() if not emoscope.load_bundle(name).clip_spec.frame_streams
    ]
    if voices:
        assert line.endswith(f"Or choose a voice model: {', '.join(voices)}.")


def test_a_sound_file_names_the_package_of_the_voice_models(
    analyze: Analyze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoscope.analysis.analyzer.bundle_names", lambda: ["face-ferplus"])
    (line,) = lines(analyze(make_sound(tmp_path / "talk.wav")).stderr)
    assert line.endswith("Or install a voice model, from the package emoscope-voice.")


def test_json_holds_no_nan(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "dark.mp4", "--json", "--quiet", "--detector", "haar")
    rows = json.loads(ran.stdout, parse_constant=lambda name: pytest.fail(name))["rows"]
    assert {row["probabilities"] for row in rows} == {None}


def test_a_rate_for_a_clip_model_is_warned_about(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "dark.mp4", "--model", media / "clip.onnx", "--rate", "5")
    assert lines(ran.stderr)[0] == ("--rate has no effect: tiny is not a model of single images.")
    assert ran.exit_code == 0


# Exit codes


def test_a_bad_file_does_not_stop_the_others(analyze: Analyze, media: Path, tmp_path: Path) -> None:
    files = [media / name for name in ("dark.mp4", "text.mp4", "gone.mp4", "bright.mp4")]
    ran = analyze(*files, "--json", "--out", tmp_path, "--format", "json")
    assert ran.exit_code == 1
    assert [json.loads(line)["provenance"]["path"] for line in lines(ran.stdout)] == [
        str(files[0]),
        str(files[3]),
    ]
    assert names(tmp_path) == ["bright.json", "dark.json"]
    shown = lines(ran.stderr)
    assert [line.split(": ")[0] for line in shown[:2]] == [str(files[0]), str(files[3])]
    assert shown[2].startswith(f"emoscope: {files[1]}: not a video")
    assert shown[3].startswith(f"emoscope: {files[2]}: no such file")
    assert len(shown) == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--rate", "fast"], "'fast' is neither a number above 0 nor 'native'"),
        (["--rate", "0"], "'0' is neither"),
        (["--rate", "-3"], "'-3' is neither"),
        (["--rate", "nan"], "'nan' is neither"),
        (["--format", "jsn"], "No report format named 'jsn'. Did you mean 'json'?"),
        (["--format", ","], "',' names no format. Known: csv, html, json, mp4, parquet."),
        (["--start", "2", "--end", "1"], "1 s is not after --start (2 s)"),
        (["--start", "-1"], "--start"),
        (["--prior", "flat"], "--prior"),
        (["--vote", "max-prob"], "No vote named 'max-prob'. Did you mean 'max-probability'?"),
        (["--out", __file__], "is a file"),
        (["--colour"], "No such option"),
        (["--detector", "har"], "No detector named 'har'. Did you mean 'haar'?"),
        (["--backend", "openvin"], "No backend named 'openvin'. Did you mean 'openvino'?"),
        (["--model", "nobody"], "No installed model named 'nobody'."),
    ],
)
def test_a_usage_error_exits_with_two_and_the_reason(
    analyze: Analyze, media: Path, words: list[str], reason: str
) -> None:
    ran = analyze(media / "dark.mp4", *words)
    assert ran.exit_code == 2
    assert reason in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize("words", [[], ["analyze"], ["analyse", "x.mp4"]])
def test_without_a_command_or_a_file_it_is_a_usage_error(words: list[str]) -> None:
    assert ask(*words).exit_code == 2


def test_a_model_file_that_is_not_a_bundle_is_one_line(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "dark.mp4", "--model", media / "text.mp4")
    assert ran.exit_code == 1
    assert len(lines(ran.stderr)) == 1
    assert ran.stderr.startswith(f"emoscope: {media}/text.mp4: not an ONNX model")


def test_debug_shows_the_traceback_of_a_file_and_goes_on(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "text.mp4", media / "dark.mp4", "--debug")
    assert ran.exit_code == 1
    assert "Traceback (most recent call last)" in ran.stderr
    assert f"{media}/dark.mp4: 1 face" in ran.stderr
    assert lines(ran.stderr)[-1].startswith(f"emoscope: {media}/text.mp4: ")


def test_debug_raises_the_error_that_stops_everything(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "dark.mp4", "--model", "nobody", "--debug")
    assert isinstance(ran.exception, emoscope.EmoscopeError)


def test_the_version_is_printed() -> None:
    ran = ask("--version")
    assert (ran.exit_code, ran.stdout) == (0, f"emoscope {emoscope.__version__}\n")


def test_the_package_offers_its_names_and_no_others() -> None:
    assert all(getattr(emoscope, name) is not None for name in emoscope.__all__)
    assert set(emoscope.__all__) <= set(dir(emoscope))
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        emoscope.analyse  # noqa: B018
