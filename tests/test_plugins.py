"""Networks, corpora, detectors and formats from outside, as docs/network-of-your-own.md shows them.

Every Python and TOML block of the page is run here.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from making import make_video

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "network-of-your-own.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE, re.DOTALL)
FILES = {block.split("\n", 1)[0].removeprefix("# "): block for block in BLOCKS if block[0] == "#"}


def block_with(text: str) -> str:
    (block,) = (block for block in BLOCKS if text in block and block not in FILES.values())
    return block


def install(site: Path, modules: dict[str, str]) -> Path:
    """A folder for PYTHONPATH in which the page's package looks installed."""
    for name, text in modules.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    about = site / f"my_emotions-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    return site


def python(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with the folder on its path."""
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    settings = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=site,
        env={**os.environ, **settings, "EMOSCOPE_CACHE": str(site / "cache")},
        capture_output=True,
        text=True,
    )


def emoscope(site: Path, *words: object) -> str:
    """Standard output of a command that succeeds."""
    ran = python(site, "-m", "emoscope", *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    modules = {name: text for name, text in FILES.items() if name.startswith("my_emotions/")}
    modules["my_emotions/network.py"] = FILES["frame_gru.py"] + block_with("MODELS.add")
    modules |= {name: FILES[name] for name in ("frame_gru.py", "frame-gru.toml")}
    return install(tmp_path_factory.mktemp("site"), {"my_emotions/__init__.py": "", **modules})


@pytest.fixture(scope="module")
def videos(site: Path) -> Path:
    """Two clips of each of two labels by each of four persons; the labels differ in brightness."""
    folder, rng = site / "videos", np.random.default_rng(0)
    folder.mkdir()
    for subject in "abcd":
        for label, level in (("happiness", 60), ("sadness", 180)):
            for number in (1, 2):
                pictures = level + rng.integers(0, 60, (14, 48, 64, 3), dtype=np.uint8)
                path = folder / f"{subject}_{label}_{number}.mp4"
                make_video(path, num_frames=14, picture=lambda i, rgb=pictures: rgb[i])
    return folder


def test_the_registries_know_a_package(site: Path) -> None:
    script = """
from emoscope.corpora import CORPORA
from emoscope.media.detectors import DETECTORS
from emoscope.models import MODELS
from emoscope.reports.formats import FORMATS
for registry in (MODELS, CORPORA, DETECTORS, FORMATS):
    print(list(registry)[-1])
"""
    ran = python(site, "-c", script)
    assert ran.stdout.split() == ["frame-gru", "my-videos", "centre", "segments"], ran.stderr


def test_a_corpus_of_a_package_is_scanned(site: Path, videos: Path) -> None:
    assert "16 samples, 2 labels" in emoscope(site, "corpus", "scan", "my-videos", videos)


def test_a_package_that_cannot_be_imported_is_named_and_spoils_no_help(tmp_path: Path) -> None:
    install(tmp_path, {"my_emotions/__init__.py": "import no_such_module"})
    make_video(tmp_path / "a.mp4")
    assert "analyze" in emoscope(tmp_path, "--help")
    ran = python(tmp_path, "-m", "emoscope", "analyze", "a.mp4", "--detector", "haar")
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("emoscope: my-emotions: its detector 'centre' (my_emotions.detector)")
    assert "No module named 'no_such_module'" in line


def trained(site: Path, videos: Path, out: str, *words: object) -> Path:
    """The bundle of the page's recipe, trained for one epoch on these videos."""
    settings = ["corpus.name=my-videos", "corpus.detector=centre", "schedule.epochs=1"]
    sets = [word for setting in settings for word in ("--set", setting)]
    corpus = f"my-videos={videos}"
    emoscope(site, "train", "frame-gru.toml", "--corpus", corpus, "--out", out, *sets, *words)
    return site / out / "frame-gru.onnx"


@pytest.mark.slow
def test_a_network_of_a_package_is_trained_and_analyses(site: Path, videos: Path) -> None:
    """With the package's corpus, its detector and its report format."""
    bundle = trained(site, videos, "installed", "--set", "model.name=frame-gru")
    film = videos / "a_sadness_1.mp4"
    how = ["--detector", "centre", "--format", "segments", "--out", "report"]
    emoscope(site, "analyze", film, "--model", bundle, *how)
    (line,) = (site / "report" / "a_sadness_1.segments.txt").read_text().splitlines()
    start, end, track, label = line.split()
    assert (start, end, track) == ("0.00", "0.56", "0")
    assert label in ("happiness", "sadness")


@pytest.mark.slow
def test_a_network_beside_the_recipe_is_trained_if_allowed(site: Path, videos: Path) -> None:
    words = ["train", "frame-gru.toml", "--corpus", f"synthetic={videos}", "--out", "refused"]
    ran = python(site, "-m", "emoscope", *words)
    assert ran.returncode != 0
    assert "--allow-code" in ran.stderr
    assert not (site / "refused").exists()
    bundle = trained(site, videos, "beside", "--allow-code")
    assert bundle.is_file()
    assert (bundle.parent / "frame_gru.py").read_text() == FILES["frame_gru.py"]


def test_a_fusion_rule_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from emoscope.analysis import fusion
    from emoscope.training.evaluation import fit_fusion

    monkeypatch.setattr(fusion.RULES, "_entries", dict(fusion.RULES._entries))
    names = {**vars(fusion), "np": np, "pipeline_rule": fit_fusion.pipeline_rule}
    names |= {"LogisticRegression": LogisticRegression, "Pipeline": Pipeline}
    exec(block_with("median"), names)
    exec(block_with("logistic"), names)
    truth, subjects = np.arange(60) % 3, np.repeat(list("abcdef"), 10)
    sure = np.eye(3)[truth] * 0.7 + 0.1
    probs = {"face": sure, "voice": np.full_like(sure, 1 / 3), "body": sure}
    for name in ("median", "logistic"):
        fused = fusion.RULES[name].fit(probs, truth, subjects, 0)(probs)
        assert fused.sum(axis=1) == pytest.approx(1)
        assert (fused.argmax(axis=1) == truth).all()
