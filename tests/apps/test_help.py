"""The help pages of all commands are readable without knowing Python."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import typer
from asking import ask
from typer.core import TyperGroup
from typer.testing import CliRunner

from emoscope.analysis.fusion import RULES
from emoscope.apps.cli import app
from emoscope.apps.cli.command import Command, choices
from emoscope.core.votes import VOTES
from emoscope.corpora import CORPORA
from emoscope.corpora.synthetic.corpus import KINDS
from emoscope.media.detectors import DETECTORS
from emoscope.training.papers.published import papers


def pages(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """The words that lead to each command and group."""
    yield words
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from pages(child, *words, name)


def page(*words: str) -> str:
    return " ".join(ask(*words, "--help").stdout.split())


PAGES = list(pages(typer.main.get_command(app)))


def test_all_commands_are_found() -> None:
    assert {(), ("analyze",), ("train",), ("corpus", "scan"), ("models", "show")} <= set(PAGES)


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_no_help_page_shows_a_python_type(words: tuple[str, ...]) -> None:
    text = page(*words)
    assert "Usage:" in text
    assert not re.findall(r"<list\[|range>|<str>|<int>|<float>|<path>|<dir>|<file>|x>=|[{}]", text)


def test_the_list_of_commands_is_not_cut_off() -> None:
    assert "..." not in ask("--help").stdout.partition("Commands:")[2]
    assert "..." not in ask("corpus", "--help").stdout.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("fuse",), RULES),
        (("reproduce",), papers()),
        (("corpus", "prepare"), DETECTORS),
        (("corpus", "scan"), CORPORA),
        (("corpus", "synth"), KINDS),
    ],
)
def test_choices_come_from_their_registry(words: tuple[str, ...], names: Any) -> None:
    unbroken = page(*words).replace("- ", "-")  # lines are also broken after a hyphen
    assert f"One of: {', '.join(names)}." in unbroken


def test_missing_metavars_follow_the_type() -> None:
    tiny = typer.Typer(rich_markup_mode=None, add_completion=False)

    @tiny.command(cls=Command)
    def run(
        video: str,
        label: Annotated[list[str] | None, typer.Option()] = None,
        count: Annotated[int, typer.Option(min=1, max=5)] = 1,
        share: Annotated[float, typer.Option(min=0.5)] = 0.5,
        vote: Annotated[str, typer.Option(help=choices("emoscope.core.votes:VOTES"))] = "",
        extra: Annotated[str, typer.Option(help=choices("not_installed:NAMES"))] = "",
        hidden: Annotated[str, typer.Option(hidden=True)] = "",
    ) -> None: ...

    text = " ".join(CliRunner().invoke(tiny, ["--help"]).stdout.split())
    assert "[OPTIONS] VIDEO Arguments: VIDEO [required]" in text
    assert "--label TEXT" in text
    assert "--count N [default: 1; 1 to 5]" in text
    assert "--share NUMBER [default: 0.5; at least 0.5]" in text
    assert f"--vote TEXT {', '.join(VOTES)}" in text.replace("- ", "-")
    assert "--extra TEXT (listed once the train extra is installed)" in text
    assert "hidden" not in text


def test_help_that_lists_a_registry_loads_no_torch() -> None:
    commands = [["fuse"], ["reproduce"], ["corpus", "scan"], ["corpus", "prepare"]]
    code = (
        "import sys\n"
        "from emoscope.apps.cli import app\n"
        f"for words in {commands}:\n"
        "    app([*words, '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
