"""The harness sees every kind of failure, names its case, and goes on."""

from pathlib import Path

import pytest

from fuzz.harness import Failure, make_mutant, run_cases
from fuzz.media import Media
from fuzz.mutators import GENERAL, overwrite_fields
from fuzz.planted import KINDS, Planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Failure]]:
    """The failures of one case of each source."""
    folder = tmp_path_factory.mktemp("planted")
    target = Planted(folder / "home")
    target.prepare()
    ran = run_cases(target, range(len(KINDS)), folder / "worker")
    return dict(zip(KINDS, ran, strict=True))


@pytest.mark.parametrize("kind", ["crash", "exception", "hang", "memory", "message", "shorter"])
def test_a_failure_is_seen_once_and_names_its_case(
    planted: dict[str, list[Failure]], kind: str
) -> None:
    (failure,) = planted[kind]
    assert (failure.kind, failure.call, failure.source) == (kind, "fail", kind)
    assert f"make fuzz CASE=planted:{KINDS.index(kind)}" in str(failure)


def test_the_place_of_a_crash_and_a_hang_is_told(planted: dict[str, list[Failure]]) -> None:
    for kind in ("crash", "hang"):
        assert "planted.py" in planted[kind][0].detail


def test_a_warning_is_a_failure(planted: dict[str, list[Failure]]) -> None:
    (failure,) = planted["warning"]
    assert failure.kind == "exception"
    assert "RuntimeWarning" in failure.detail


def test_good_input_and_a_clear_error_are_no_failure(planted: dict[str, list[Failure]]) -> None:
    assert planted["fine"] == planted["refused"] == []


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    target = Media(tmp_path_factory.mktemp("media"))
    target.prepare()
    return target


def test_the_same_number_gives_the_same_mutant_and_another_one_another(
    media: Media, tmp_path: Path
) -> None:
    number = media.sources.index(media.home / "sources" / "h264-aac.mp4")
    contents = []
    for folder, case in (("a", number), ("b", number), ("c", number + len(media.sources))):
        (tmp_path / folder).mkdir()
        contents.append(make_mutant(media, case, tmp_path / folder).path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert contents[0] != media.sources[number].read_bytes()


def test_a_folder_is_damaged_in_some_of_its_files(media: Media, tmp_path: Path) -> None:
    number = media.sources.index(media.home / "sources" / "numbered-png")
    mutant = make_mutant(media, number, tmp_path)
    before = {path.name: path.read_bytes() for path in mutant.source.iterdir()}
    after = {path.name: path.read_bytes() for path in mutant.path.iterdir()}
    assert after != before
    assert set(after) <= set(before)


@pytest.mark.parametrize("name", GENERAL)
def test_damage_of_the_smallest_input(name: str) -> None:
    from random import Random

    for seed in range(20):
        assert isinstance(GENERAL[name](b"\x01", Random(seed)), bytes)
        assert isinstance(overwrite_fields((b"\x01",))(b"\x01", Random(seed)), bytes)
