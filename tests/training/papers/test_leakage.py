"""One system on the same people under a leaking protocol and an honest one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import clips, fake_run

from emoscope.training.metrics import protocol_difference
from emoscope.training.papers.leakage import inflation, inflation_table
from emoscope.training.papers.reproduce import reproduction_table
from emoscope.training.run_folder import RunFolder, read_run

LEAKY = {"name": "augmented-random-80-20", "variants": 2, "allow_leak": True}
BY_PERSON = {"name": "leave-one-group-out", "groups": 2}


def run_of(folder: Path, skill: float, *, leaky: bool = False, **changes: Any) -> RunFolder:
    samples = clips()
    if leaky:
        samples = [
            replace(s, groups={**s.groups, "variant": str(i)}) for s in samples for i in (0, 1)
        ]
    protocol = LEAKY if leaky else BY_PERSON
    fake_run(folder, skill=skill, samples=samples, protocol=protocol, name=folder.name, **changes)
    return read_run(folder)


def test_the_points_added_are_the_difference_of_the_two_accuracies(tmp_path: Path) -> None:
    leaky = run_of(tmp_path / "leaky", 0.95, leaky=True)
    honest = run_of(tmp_path / "honest", 0.5)
    result = inflation(leaky, honest)
    assert result.persons == 6
    both = result.leaky["accuracy"] - result.honest["accuracy"]
    assert result.added.difference == pytest.approx(both)
    assert 0.25 < result.added.low < both < result.added.high < 0.7
    assert result.added.p < 0.05  # as far as 2,000 draws of six persons can tell


def test_a_table_pairs_runs_of_one_system_only(tmp_path: Path) -> None:
    leaky = run_of(tmp_path / "leaky", 0.95, leaky=True)
    honest = run_of(tmp_path / "honest", 0.5)
    other = run_of(tmp_path / "other", 0.5, model={"name": "face-gru"})
    table = inflation_table([other, leaky, honest])
    ((system, corpus, _, there, _, _, points, persons),) = table.rows
    assert (system, corpus, persons) == ("face-cnn", "folder", "6")
    assert there.startswith(f"{100 * inflation(leaky, honest).leaky['accuracy']:.1f} % (")
    assert points.startswith(f"{100 * inflation(leaky, honest).added.difference:+.1f} (")
    assert inflation_table([other, leaky]).rows == inflation_table([honest]).rows == ()


def test_a_reproduction_shows_the_gain_by_the_leak(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "leaky", 0.95, leaky=True), run_of(tmp_path / "honest", 0.5)]
    assert "## Accuracy gained by the leak" in reproduction_table(
        "deformable-convlstm", runs, tmp_path
    )
    assert "by the leak" not in reproduction_table("deformable-convlstm", runs[1:], tmp_path)


def test_people_are_resampled_and_not_clips() -> None:
    """Nine of ten persons are read alike by both; all the difference is one person's."""
    who = np.repeat(np.arange(10).astype(str), 20)
    right = np.ones(200, dtype=bool)
    worse = right.copy()
    worse[:20] = False
    result = protocol_difference(worse, who, right, who)
    assert result.difference == pytest.approx(0.1)
    assert result.low == 0
    assert result.high > 0.2
    assert result.p > 0.3  # of 200 independent clips it would be nothing of the kind


def test_both_protocols_must_test_the_same_people() -> None:
    right, who = np.ones(4, dtype=bool), np.array(["1", "1", "2", "2"])
    with pytest.raises(ValueError, match="the same people"):
        protocol_difference(right, who, right[:2], who[:2])
