import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from planting import plant

from emoscope import corpora
from emoscope.core.errors import CorpusError, UnknownName
from emoscope.corpora import CORPORA, Manifest, Sample, read_corpus, reader_options
from emoscope.corpora.registry import options_by_corpus

READERS = Path(corpora.__file__).parent / "readers"


@pytest.fixture
def numbered() -> Iterator[str]:
    """A corpus whose reader takes a number and a switch, registered for one test."""
    name = "numbered"

    def read(root: Path, *, take: Annotated[int, "The take."] = 1, loud: bool = False) -> Manifest:
        """Clips of one take."""
        label = f"take-{take + 1}{'-loud' * loud}"  # a sum, so that text would fail
        return Manifest(name, (label,), (Sample(root / "1.mp4", label),))

    list(CORPORA)
    CORPORA.add(name, read)
    yield name
    del CORPORA._entries[name]


def test_every_module_of_the_readers_registers_a_corpus() -> None:
    modules = {path.stem for path in READERS.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in CORPORA} == modules
    assert {CORPORA[name].__module__.rpartition(".")[2] for name in CORPORA} == modules


def test_every_reader_describes_its_layout_and_its_options() -> None:
    for name in CORPORA:
        assert (CORPORA[name].__doc__ or "").strip()
        for option in reader_options(name).values():
            assert option.help.endswith("."), (name, option.name)
            assert option.default is not None


def test_a_misspelt_corpus_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'ckplus'"):
        read_corpus("ck-plus", Path())


def test_an_option_that_the_reader_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownName, match=r"gemep: no option named 'patern'. Did you mean 'pattern'"
    ):
        read_corpus("gemep", tmp_path, patern="x")
    with pytest.raises(UnknownName, match=r"gemep: no option named 'x'. Known: pattern"):
        read_corpus("gemep", tmp_path, x="x")
    with pytest.raises(
        UnknownName, match=r"folder: no option named 'pattern'. It takes no options"
    ):
        read_corpus("folder", tmp_path, pattern="x")


def test_options_are_passed_to_the_reader(tmp_path: Path) -> None:
    plant(tmp_path, ["joi-of-anna.avi"])
    pattern = r"(?P<emotion>\w{3})-of-(?P<actor>\w+)"
    (sample,) = read_corpus("gemep", tmp_path, pattern=pattern).samples
    assert (sample.label, sample.subject) == ("joy", "anna")


def test_text_is_converted_to_the_type_of_the_option(tmp_path: Path, numbered: str) -> None:
    assert read_corpus(numbered, tmp_path).labels == ("take-2",)
    assert read_corpus(numbered, tmp_path, take="2", loud="true").labels == ("take-3-loud",)
    with pytest.raises(CorpusError, match=r"numbered: option take = 'two': .*valid integer"):
        read_corpus(numbered, tmp_path, take="two")


def test_joined_corpora_each_get_the_options_that_they_take(numbered: str) -> None:
    options = {"pattern": "x", "take": 3}
    assert options_by_corpus(["gemep", "folder", numbered], options) == {
        "gemep": {"pattern": "x"},
        "folder": {},
        numbered: {"take": 3},
    }
    with pytest.raises(UnknownName, match=r"gemep \+ folder: no option named 'take'"):
        options_by_corpus(["gemep", "folder"], options)


def test_a_synthetic_corpus_is_named_so_whichever_reader_reads_it(tmp_path: Path) -> None:
    plant(tmp_path, ["S001/joy/1.mp4"])
    assert read_corpus("folder", tmp_path).corpus == "folder"
    (tmp_path / "synthetic.json").write_text('{"kind": "faces"}')
    assert read_corpus("folder", tmp_path).corpus == "synthetic-faces"


PLUGIN = '''
from pathlib import Path
from emoscope.corpora import CORPORA, Manifest, Sample

@CORPORA.register("stage")
def read_stage(root: Path, *, take: int = 1) -> Manifest:
    """Stage films: `TAKE/LABEL.mp4`."""
    samples = [Sample(path, path.stem) for path in sorted((root / str(take)).glob("*.mp4"))]
    return Manifest("stage", tuple(sample.label for sample in samples), tuple(samples))
'''


def test_an_installed_package_adds_a_corpus_with_options(tmp_path: Path) -> None:
    installed = plant(tmp_path / "installed", ["stage-1.0.dist-info/METADATA"])
    (installed / "stage_films.py").write_text(PLUGIN)
    info = installed / "stage-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emoscope.corpora]\nstage = stage_films\n")
    films = plant(tmp_path / "films", ["1/joy.mp4", "2/fear.mp4", "2/joy.mp4"])
    words = ["corpus", "scan", "stage", str(films), "--option", "take=2"]
    code = f"from emoscope.apps.cli import app; app({words!r})"
    path = os.pathsep.join([str(installed), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert ran.stderr == ""
    assert ran.stdout.startswith("stage: 2 samples, 2 labels\nlabel: fear 1, joy 1\n")
