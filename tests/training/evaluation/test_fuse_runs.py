"""Fusing finished runs: joined by clip within the same folds, judged on folds not learned from."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask
from fake_runs import LABELS, clips, fake_run

from emoscope.analysis.fusion import FittedRule, average, load_rule, weighted_average
from emoscope.core.errors import RecipeError, UnknownName
from emoscope.training.evaluation.compare import compare
from emoscope.training.evaluation.fit_fusion import PipelineRule
from emoscope.training.evaluation.fuse_runs import RULES, fuse, fused, random_folds, stack_runs
from emoscope.training.metrics import uar
from emoscope.training.run_folder import part_folder, read_json, read_run, write_json


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on the same 72 clips, of two folds; the second of two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        fake_run(folder / "face", name="face", skill=0.7, seeds=(0,)),
        fake_run(folder / "voice", name="voice", skill=0.6, draw=1),
    ]


@pytest.fixture(scope="module")
def out(pair: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of fusing the two by an SVM; only the face has a bundle."""
    (pair[0] / "face.onnx").touch()
    out = tmp_path_factory.mktemp("fused") / "face-and-voice"
    fuse(pair, out, "svm")
    return out


def refused(*folders: Path) -> str:
    with pytest.raises(RecipeError) as raised:
        stack_runs(folders)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_clips_are_joined_in_any_order(pair: list[Path], tmp_path: Path) -> None:
    """Predictions and labels of the two runs are in different orders."""
    stack = stack_runs(pair)
    assert list(stack.members) == ["face", "voice"]
    own = read_run(pair[1]).predictions()
    sums = {sample.path: np.zeros(3) for sample in own.samples}
    for sample, probs in zip(own.samples, own.probs, strict=True):
        sums[sample.path] += probs / 2
    expected = np.array([sums[sample.path] for sample in stack.samples])
    np.testing.assert_allclose(stack.members["voice"], expected)
    turned = stack_runs(pair[::-1])
    for name in stack.members:
        by_path = dict(zip((s.path for s in turned.samples), turned.members[name], strict=True))
        again = np.array([by_path[sample.path] for sample in stack.samples])
        np.testing.assert_allclose(again, stack.members[name])


def test_a_clip_that_one_run_could_not_judge_has_the_probabilities_of_the_other(
    tmp_path: Path,
) -> None:
    fixed: dict[str, Any] = {"protocol": {"name": "fixed"}, "seeds": (0,)}
    every = clips()
    runs = [
        fake_run(tmp_path / "face", name="face", samples=every[:-2], **fixed),
        fake_run(tmp_path / "voice", name="voice", samples=every[3:], draw=1, **fixed),
    ]
    assert "its test clips differ from those of" in refused(*runs)
    stack = stack_runs(runs, partial=True)
    assert {sample.path for sample in stack.samples} == {sample.path for sample in every}
    voice_alone, face_alone = (np.isnan(p).any(axis=1) for p in stack.members.values())
    assert [s.path for s in np.array(stack.samples)[voice_alone]] == [s.path for s in every[-2:]]
    assert [s.path for s in np.array(stack.samples)[face_alone]] == [s.path for s in every[:3]]
    for rule in ("average", "svm"):
        probs = fused(random_folds(stack, 3), rule)
        np.testing.assert_allclose(probs[face_alone], stack.members["face"][face_alone])


def test_random_folds_are_stratified_by_class(tmp_path: Path) -> None:
    fixed: dict[str, Any] = {"protocol": {"name": "fixed"}, "seeds": (0,)}
    stack = random_folds(stack_runs([fake_run(tmp_path / n, name=n, **fixed) for n in "ab"]), 5)
    folds = np.unique(stack.folds)
    counts = [np.bincount(stack.truth[stack.folds == fold], minlength=3).tolist() for fold in folds]
    assert len(folds) == 5
    assert {count for each in counts for count in each} == {4, 5}  # of 24 of each class
    with pytest.raises(RecipeError, match="the runs have one fold"):
        fused(stack_runs([tmp_path / "a", tmp_path / "b"]), "svm")


def test_a_single_run_has_the_same_figures_as_in_compare(pair: list[Path], out: Path) -> None:
    found = read_json(out / "fusion.json")
    (face, _) = compare(pair).runs
    for metric in ("accuracy", "uar", "uar_ci95", "macro_f1", "ece"):
        assert found["members"]["face"][metric] == pytest.approx(face.figures[metric])


def test_a_rule_that_learns_does_not_see_the_fold_it_is_judged_on(
    pair: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule for one fold is fitted to the persons of the other."""
    stack, plain = stack_runs(pair), PipelineRule.fit
    learned: list[set[str]] = []

    def watched(self: PipelineRule, probs: Any, truth: Any, subjects: Any, seed: int) -> FittedRule:
        learned.append(set(subjects.tolist()))
        return plain(self, probs, truth, subjects, seed)

    monkeypatch.setattr(PipelineRule, "fit", watched)
    fused(stack, "svm")
    assert learned == [{"4", "5", "6"}, {"1", "2", "3"}]


def test_labels_of_a_fold_change_only_the_probabilities_of_the_other(pair: list[Path]) -> None:
    stack = stack_runs(pair)
    there = stack.folds == "group 1"
    turned = tuple(
        replace(sample, label=LABELS[(LABELS.index(sample.label) + 1) % 3]) if own else sample
        for sample, own in zip(stack.samples, there.tolist(), strict=True)
    )
    for rule in ("svm", "weighted-average"):
        before, after = fused(stack, rule), fused(replace(stack, samples=turned), rule)
        np.testing.assert_array_equal(before[there], after[there])
        assert np.abs(before[~there] - after[~there]).max() > 1e-3


def test_fixed_rules_are_those_of_analysis(pair: list[Path]) -> None:
    stack = stack_runs(pair)
    np.testing.assert_array_equal(fused(stack, "average"), average(stack.members))


def test_weights_are_the_uar_on_the_other_folds(pair: list[Path]) -> None:
    stack = stack_runs(pair)
    one = stack.folds == "group 1"
    weights = weights_on(stack.rows(~one), stack.truth[~one])
    np.testing.assert_allclose(
        fused(stack, "weighted-average")[one], weighted_average(stack.rows(one), weights)
    )


def weights_on(members: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, float]:
    return {name: uar(truth, probs.argmax(axis=1)) for name, probs in members.items()}


def test_every_rule_is_fitted_in_the_same_way(pair: list[Path], tmp_path: Path) -> None:
    """And one that learns nothing is its own fit."""
    stack = stack_runs(pair)
    for name in RULES:
        rule = RULES[name]
        fitted = rule.fit(stack.members, stack.truth, stack.subjects, 0)
        assert fitted(stack.members).sum(axis=1) == pytest.approx(1)
        assert (fitted is rule) == (not rule.learns)


def test_the_folder_holds_the_figures_and_a_system(pair: list[Path], out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == [
        "face-and-voice.rule.onnx",
        "face-and-voice.toml",
        "fusion.json",
        "fusion.md",
    ]
    assert "| highest-confidence |" in (out / "fusion.md").read_text()
    found = json.loads((out / "fusion.json").read_text())
    assert list(found["rules"]) == [
        "average",
        "weighted-average",
        "product",
        "highest-confidence",
        "svm",
        "random-forest",
        "adaboost",
    ]
    assert (found["clips"], found["interval_over"]) == (72, "subjects")
    best = max(found["members"], key=lambda name: found["members"][name]["uar"])
    gain = found["rules"]["average"]["uar"] - found["members"][best]["uar"]
    assert found["rules"]["average"]["over_best"]["difference"] == pytest.approx(gain)
    system = tomllib.loads((out / "face-and-voice.toml").read_text())
    assert (system["name"], system["rule"]) == ("face-and-voice", "face-and-voice.rule.onnx")
    face, voice = (member["model"] for member in system["members"])
    assert (out / face).resolve() == (pair[0] / "face.onnx").resolve()
    assert voice == "voice"
    assert load_rule(out / system["rule"]).card.members == ("face", "voice")


def test_the_command_prints_the_table_and_weights_from_all_clips(
    pair: list[Path], tmp_path: Path
) -> None:
    ran = ask("fuse", *pair, "-o", tmp_path / "w", "--rule", "weighted-average")
    assert ran.exit_code == 0, ran.stderr
    assert "| highest-confidence |" in ran.stdout
    assert ran.stdout.endswith(f"written: {tmp_path / 'w' / 'w.toml'}\n")
    system = tomllib.loads((tmp_path / "w" / "w.toml").read_text())
    stack = stack_runs(pair)
    expected = weights_on(dict(stack.members), stack.truth)
    found = [member["weight"] for member in system["members"]]
    assert found == pytest.approx(list(expected.values()), rel=1e-5)
    assert not list((tmp_path / "w").glob("*.onnx"))


def test_an_unknown_rule_is_a_usage_error(pair: list[Path], tmp_path: Path) -> None:
    ran = ask("fuse", *pair, "-o", tmp_path / "none", "--rule", "svn")
    assert ran.exit_code == 2
    assert "No fusion rule named 'svn'. Did you mean 'svm'?" in ran.stderr
    assert not (tmp_path / "none").exists()


# Refusals


def test_one_run_or_one_name_twice_is_refused(pair: list[Path], tmp_path: Path) -> None:
    assert refused(pair[0]) == "Fusion needs two or more runs. Give their folders."
    other = fake_run(tmp_path / "other", name="face", seeds=(0,))
    assert "need different names, got face, face" in refused(pair[0], other)


def test_probabilities_that_are_not_out_of_fold_are_refused(
    pair: list[Path], tmp_path: Path
) -> None:
    leaky = fake_run(tmp_path / "leaky", name="leaky")
    folds = read_json(leaky / "folds.json")
    folds[1]["leaks"] = {"subject": ["3"]}
    write_json(leaky / "folds.json", folds)
    message = refused(pair[0], leaky)
    assert "fold 'group 2' has the same subject in training and test (3)" in message
    assert "not out of fold" in message


def test_folds_that_differ_by_person_are_refused(pair: list[Path], tmp_path: Path) -> None:
    """The same clips, cut into halves at another place."""
    turned = clips()[12:] + clips()[:12]
    other = fake_run(tmp_path / "other", name="other", samples=turned)
    message = refused(pair[0], other)
    assert message.startswith(f"{other}: its folds differ from those of {pair[0]}: ")
    assert "Train both with the same protocol and seed." in message
    whole = fake_run(tmp_path / "whole", name="whole", protocol={"name": "fixed"})
    assert "in 'valid' are not those of 'group 2'" in refused(pair[0], whole)
    assert "its folds differ from those of" in refused(whole, pair[0])


def test_other_clips_are_refused(pair: list[Path], tmp_path: Path) -> None:
    fewer = fake_run(tmp_path / "fewer", name="fewer", samples=clips()[:-2])
    assert "2 are in only one of them, such as /corpus/6/sadness-2.mp4" in refused(pair[0], fewer)


def test_other_labels_are_refused(pair: list[Path], tmp_path: Path) -> None:
    labels = ("anger", "disgust", "fear")
    other = fake_run(tmp_path / "other", name="other", labels=labels)
    assert "its labels differ from those of" in refused(pair[0], other)


def test_a_run_that_is_not_finished_is_refused(pair: list[Path], tmp_path: Path) -> None:
    half = fake_run(tmp_path / "half", name="half")
    (part_folder(half, "group 1", 0) / "fold.json").unlink()
    assert "only 3 of 4 folds are finished" in refused(pair[0], half)


def test_with_one_fold_only_fixed_rules_are_judged(tmp_path: Path) -> None:
    runs = [
        fake_run(tmp_path / name, name=name, draw=draw, protocol={"name": "fixed"}, seeds=(0,))
        for draw, name in enumerate(("face", "voice"))
    ]
    fuse(runs, tmp_path / "both")
    found = read_json(tmp_path / "both" / "fusion.json")
    assert list(found["rules"]) == ["average", "product", "highest-confidence"]
    for rule in ("svm", "weighted-average"):
        with pytest.raises(RecipeError, match=f"{rule} is trained on other folds"):
            fuse(runs, tmp_path / rule, rule)
        assert not (tmp_path / rule).exists()


def test_an_unknown_rule_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="No fusion rule named 'mode'"):
        fuse([tmp_path / "a", tmp_path / "b"], tmp_path / "c", "mode")
