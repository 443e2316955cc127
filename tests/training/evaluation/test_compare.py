"""Runs side by side."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import LABELS, LEAK, clips, fake_run

from emoscope.core.errors import RecipeError
from emoscope.training.evaluation.compare import Pair, compare
from emoscope.training.run_folder import part_folder, read_run, write_json, write_table


def pair(*folders: Path) -> Pair:
    (only,) = compare(folders).pairs
    return only


def predict(folder: Path, seed: int, right: float) -> None:
    """Give every clip's own label the probability `right`, the next label the rest."""
    run = read_run(folder)
    for fold in run.folds:
        rows = []
        for row in fold["test"]:
            truth = LABELS.index(run.samples[row].label)
            probs = np.zeros(len(LABELS))
            probs[truth], probs[(truth + 1) % len(LABELS)] = right, 1 - right
            rows.append([row, *probs.tolist()])
        path = part_folder(folder, fold["name"], seed) / "predictions.csv"
        write_table(path, ["row", *LABELS], rows)


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    result = pair(fake_run(tmp_path / "a"), fake_run(tmp_path / "b"))
    assert result.clips == 72
    assert result.over == "subjects"
    assert result.difference is not None
    assert result.difference.difference == 0
    assert result.difference.p == result.mcnemar_p == 1


def test_a_better_run_is_significantly_better(tmp_path: Path) -> None:
    poor = fake_run(tmp_path / "poor", skill=0.4, seeds=(0,))
    good = fake_run(tmp_path / "good", skill=0.9, draw=1, seeds=(0,))
    up, down = pair(poor, good), pair(good, poor)
    result = compare([poor, good])
    uars = [line.figures["uar"] for line in result.runs]
    assert up.difference is not None
    assert down.difference is not None
    assert up.difference.difference == pytest.approx(uars[1] - uars[0])
    assert up.difference.low > 0
    assert down.difference.high < 0
    assert up.difference.p < 0.05
    assert up.mcnemar_p < 0.05


def test_probabilities_of_seeds_are_averaged(tmp_path: Path) -> None:
    right, split = (fake_run(tmp_path / name) for name in ("right", "split"))
    for seed in (0, 1):
        predict(right, seed, 1.0)
    predict(split, 0, 0.9)
    predict(split, 1, 0.4)  # wrong alone, right with the other
    result = pair(right, split)
    assert result.difference is not None
    assert result.difference.difference == 0
    predict(split, 1, 0.05)
    result = pair(right, split)
    assert result.difference is not None
    assert result.difference.difference == -1


def test_only_clips_with_the_same_label_in_both_runs_are_compared(tmp_path: Path) -> None:
    samples = clips()
    others = [replace(samples[0], label="sadness"), *samples[1:50]]
    moved = [replace(s, start_s=1.0) if k == 1 else s for k, s in enumerate(others)]
    result = pair(fake_run(tmp_path / "a"), fake_run(tmp_path / "b", samples=moved))
    assert result.clips == 48


def test_the_order_of_the_labels_does_not_matter(tmp_path: Path) -> None:
    a = fake_run(tmp_path / "a", skill=1.0)
    b = fake_run(tmp_path / "b", skill=1.0, labels=LABELS[::-1], samples=clips())
    result = pair(a, b)
    assert result.difference is not None
    assert (result.clips, result.difference.difference) == (72, 0)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"labels": ("anger", "fear")}, "labels differ"),
        ({"samples": [replace(s, path=Path("/other") / s.path.name) for s in clips()]}, "no clip"),
    ],
)
def test_the_reason_is_given_where_runs_cannot_be_compared(
    tmp_path: Path, other: dict, reason: str
) -> None:
    result = compare([fake_run(tmp_path / "a"), fake_run(tmp_path / "b", name="b", **other)])
    assert reason in result.pairs[0].reason
    assert reason in result.markdown()
    assert "pair,b - fake,clips,0" in result.csv()


def test_leaks_and_different_protocols_and_corpora_are_warnings(tmp_path: Path) -> None:
    a = fake_run(tmp_path / "a", name="a", warnings=(LEAK,))
    b = fake_run(
        tmp_path / "b",
        name="b",
        protocol={"name": "fixed"},
        corpora=("synthetic-faces",),
    )
    result = compare([a, b])
    leak, corpora, protocols = result.warnings
    assert leak == f"a: {LEAK}"
    assert "b: synthetic-faces" in corpora
    assert "a: leave-one-group-out (groups 2); b: fixed" in protocols
    assert result.markdown().startswith(f"> **Warning**: a: {LEAK}")
    assert "| b | face-cnn | synthetic-faces |" in result.markdown()
    assert not compare([a, a]).warnings[2:]


def test_many_runs_are_each_compared_with_the_first(tmp_path: Path) -> None:
    folders = [fake_run(tmp_path / n, name=n, samples=clips(each=1)) for n in "abcde"]
    assert [(p.first, p.second) for p in compare(folders).pairs] == [("a", n) for n in "bcde"]
    assert len(compare(folders[:4]).pairs) == 6


def test_the_table_has_the_costs_of_a_run(tmp_path: Path) -> None:
    network = fake_run(tmp_path / "a", name="network")
    estimator = fake_run(tmp_path / "b", name="estimator", optimiser=None, schedule=None)
    write_json(network / "bundle.json", {"cpu_ms_a_clip": 3.21})
    result = compare([network, estimator])
    first, second = result.runs
    assert (first.seconds_a_fold, first.seconds) == (10.5, 42.0)
    assert (first.parameters, first.cpu_ms) == (1_234_567, 3.21)
    assert (second.parameters, second.cpu_ms) == (None, None)
    assert "| 10.5 | 42 | 1,234,567 | 3.2 |" in result.markdown()
    table = pd.read_csv(io.StringIO(result.csv()))
    assert table["value"].dtype == np.float64
    uar = table[(table["name"] == "network") & (table["metric"] == "uar")]
    assert uar["value"].item() == pytest.approx(first.figures["uar"])


def test_runs_of_one_recipe_are_named_by_their_folders(tmp_path: Path) -> None:
    folders = [fake_run(tmp_path / n) for n in "ab"]
    assert [line.name for line in compare(folders).runs] == [f"fake ({f})" for f in folders]


def test_a_single_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="two or more runs"):
        compare([fake_run(tmp_path / "a")])
