import errno
from pathlib import Path

import pytest

from emoscope.core.errors import MediaError
from emoscope.media.files import replacing


def test_the_target_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.txt"
    with replacing(target) as part:
        part.write_text("whole")
        assert not target.exists()
        assert part.suffix == ".txt"
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: BaseException
) -> None:
    target = tmp_path / "report.txt"
    target.write_text("old")
    with pytest.raises(type(failure)), replacing(target) as part:  # noqa: PT012
        part.write_text("half")
        raise failure
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_line_that_names_the_target(tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    raised = pytest.raises(MediaError, match=r"report\.txt: cannot be written: .*Free some space")
    with raised, replacing(target) as part:
        raise OSError(errno.ENOSPC, "No space left on device", str(part))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    raised = pytest.raises(MediaError, match=r"file/report\.txt: cannot be written")
    with raised, replacing(tmp_path / "file" / "report.txt") as part:
        part.write_text("never")


def test_an_error_does_not_name_the_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    with pytest.raises(MediaError) as raised, replacing(target) as part:
        raise MediaError(f"{part}: no sound")
    assert str(raised.value) == f"{target}: no sound"
