"""The command line as tests ask it, and what they look at: `from asking import ask, names`."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from emoscope.apps.cli import app

_WIDE = {"COLUMNS": "400"}  # so that a usage error is not broken over lines


def ask(*words: object, env: dict[str, str] | None = None) -> Any:
    """Run `emoscope` and return exit_code, stdout, stderr and exception."""
    return CliRunner().invoke(app, [str(word) for word in words], env={**_WIDE, **(env or {})})


def lines(text: str) -> list[str]:
    return text.splitlines()


def names(folder: Path) -> list[str]:
    """All that is in a folder, hidden files too; nothing where there is none."""
    return sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []


def assert_one_line(ran: Any, path: Path, reason: str) -> None:
    """It failed with the file and the reason, and nothing else."""
    assert ran.exit_code == 1
    assert ran.stdout == ""
    (line,) = lines(ran.stderr)
    assert line.startswith(f"emoscope: {path}")
    assert reason in line
