"""Imports: `import emoscope` and help stay instant, the analysis does not import torch."""

import subprocess
import sys
from pathlib import Path

from asking import lines

HEAVY = ["torch", "cv2", "av", "onnxruntime", "plotly", "pandas", "numpy", "scipy", "sklearn"]


def imported_by(code: str, *words: object) -> set[str]:
    """The heavy packages that a new Python process has loaded after some code."""
    code += f"\nimport sys; print('\\nloaded', *sorted(set({HEAVY}) & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True
    )
    return set(lines(ran.stdout)[-1].split()[1:])


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert imported_by("import emoscope; emoscope.EmoscopeError, dir(emoscope)") == set()


def test_help_loads_nothing_heavy() -> None:
    run = "from emoscope.apps.cli import app; app(sys.argv[1:], standalone_mode=False)"
    for words in (["--help"], ["models", "--help"], ["train", "--help"], ["--version"]):
        assert imported_by(f"import sys\n{run}", *words) == set()


def test_the_main_help_loads_no_pydantic_either() -> None:
    code = (
        "import sys\n"
        "from emoscope.apps.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_the_help_of_analyze_loads_its_registries_and_no_torch() -> None:
    run = "from emoscope.apps.cli import app; app(sys.argv[1:], standalone_mode=False)"
    loaded = imported_by(f"import sys\n{run}", "analyze", "--help")
    assert {"cv2", "onnxruntime"} <= loaded
    assert not loaded & {"torch", "scipy", "sklearn", "pandas"}


def test_analyze_never_loads_torch_scipy_or_pandas(media: Path, tmp_path: Path) -> None:
    run = "import sys\nfrom emoscope.apps.cli import app; app(sys.argv[1:], standalone_mode=False)"
    words = ["analyze", media / "bright.mp4", "--model", media / "image.onnx", "--out", tmp_path]
    loaded = imported_by(run, *words, "--format", "json,csv,html,mp4")
    assert (tmp_path / "bright.annotated.mp4").is_file()
    assert loaded <= {"cv2", "av", "onnxruntime", "plotly", "numpy"}


def test_sub_packages_are_attributes_of_the_package() -> None:
    import emoscope

    assert "face-cnn" in emoscope.models.names()
    assert emoscope.media.__name__ == "emoscope.media"
