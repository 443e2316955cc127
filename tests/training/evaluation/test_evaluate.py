"""A run's metrics from its predictions alone, and the pages that show them."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import LEAK, clips, fake_run
from sklearn.metrics import balanced_accuracy_score, f1_score

from emoscope.core.errors import RecipeError
from emoscope.core.votes import VOTES
from emoscope.training.evaluation.charts import confusion_chart, curves_chart, reliability_chart
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.evaluation.tables import with_interval
from emoscope.training.run_folder import FINAL, part_folder, read_run, write_table


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return fake_run(tmp_path / "run", warnings=(LEAK,))


def figures(folder: Path) -> dict:
    return evaluate(folder)["figures"]


def repeat_first_seed(folder: Path) -> None:
    """Give the second seed the predictions of the first."""
    for fold in ("group 1", "group 2"):
        first, second = (part_folder(folder, fold, seed) / "predictions.csv" for seed in (0, 1))
        shutil.copy(first, second)


def test_the_metrics_include_all_folds_and_seeds(run: Path) -> None:
    result, predictions = figures(run), read_run(run).predictions()
    assert result["accuracy"] == np.mean(predictions.truth == predictions.predicted)
    assert result["uar"] == pytest.approx(
        balanced_accuracy_score(predictions.truth, predictions.predicted)
    )
    macro_f1 = f1_score(predictions.truth, predictions.predicted, average="macro")
    assert result["macro_f1"] == pytest.approx(macro_f1)
    assert np.sum(result["confusion"]) == len(predictions.samples) == 2 * result["samples"] == 144
    assert (result["subjects"], result["seeds"], result["protocol"]) == (
        6,
        2,
        "leave-one-group-out",
    )
    assert "majority_accuracy" not in result
    women = np.array([s.groups["gender"] == "female" for s in predictions.samples])
    of_women = result["by_group"]["gender"]["female"]
    assert of_women["accuracy"] == np.mean((predictions.truth == predictions.predicted)[women])
    assert of_women["samples"] == 36
    assert result["per_class"]["anger"]["samples"] == 24


@pytest.mark.parametrize("vote", ["sum-probability", "max-probability"])
def test_clips_predicted_in_blocks_have_metrics_by_every_vote(tmp_path: Path, vote: str) -> None:
    folder = fake_run(tmp_path / "run", evaluation={"every": 2, "vote": vote})
    result, run = figures(folder), read_run(folder)
    assert set(result["by_vote"]) == set(VOTES)
    assert next(iter(result["by_vote"])) == vote
    for name, scores in result["by_vote"].items():
        predictions = run.predictions(name)
        assert scores["accuracy"] == np.mean(predictions.truth == predictions.predicted)
        assert scores["uar"] == pytest.approx(
            balanced_accuracy_score(predictions.truth, predictions.predicted)
        )
        for metric in ("accuracy", "uar"):
            low, high = scores[f"{metric}_ci95"]
            assert low < scores[metric] < high
    assert result["by_vote"][vote] == {key: result[key] for key in result["by_vote"][vote]}
    accuracies = {scores["accuracy"] for scores in result["by_vote"].values()}
    assert len(accuracies) == len(VOTES), "else the test would not tell them apart"
    assert result["what"].endswith(f"; blocks of frames, 2 apart, combined by {vote}")


def test_the_pages_show_the_metrics_by_every_vote(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / "run", evaluation={"every": 2, "vote": "max-probability"})
    by_vote = figures(folder)["by_vote"]
    shown = (
        (folder / "evaluation.md")
        .read_text()
        .split("## By vote")[1]
        .splitlines()[4 : 4 + len(by_vote)]
    )
    page = (folder / "evaluation.html").read_text().replace("&nbsp;", " ")
    table = pd.read_csv(folder / "evaluation.csv")
    for line, (vote, scores) in zip(shown, by_vote.items(), strict=True):
        assert line.startswith(f"| {vote} | {100 * scores['accuracy']:.1f} % (")
        assert f"<td>{vote}</td><td>{100 * scores['accuracy']:.1f} % (" in page
        rows = table[(table["part"] == "vote") & (table["name"] == vote)]
        assert rows["value"].tolist() == pytest.approx([scores["accuracy"], scores["uar"]])


def test_metrics_under_a_uniform_prior_are_those_of_the_bundle(run: Path) -> None:
    """As `Bundle.predict` has it: softmax(log p - log prior), by the prior of each training."""
    other = {"group 1": (0.1, 0.2, 0.7), "group 2": (0.6, 0.3, 0.1)}
    for fold, seed in read_run(run).parts:
        path = part_folder(run, fold, seed) / "fold.json"
        training = json.loads(path.read_text())
        path.write_text(json.dumps(training | {"prior": other[fold]}))
    plain, predictions = figures(run), read_run(run).predictions()
    result = plain["uniform_prior"]
    logits = np.log(predictions.probs) - np.log([other[fold] for fold in predictions.folds])
    answers = logits.argmax(axis=1)
    assert (answers != predictions.predicted).any(), "else the test would not tell them apart"
    assert result["accuracy"] == np.mean(predictions.truth == answers)
    assert result["uar"] == pytest.approx(balanced_accuracy_score(predictions.truth, answers))
    assert result["accuracy_ci95"][0] < result["accuracy"] < result["accuracy_ci95"][1]
    for c, label in enumerate(predictions.labels):
        assert result["recall"][label] == pytest.approx(
            np.mean(answers[predictions.truth == c] == c)
        )
    exp = np.exp(logits)
    highest = (exp / exp.sum(axis=1, keepdims=True)).max(axis=1)
    assert result["coverage"][3]["answered"] == np.mean(highest >= 0.6)
    assert plain["coverage"][3]["answered"] == np.mean(predictions.probs.max(axis=1) >= 0.6)


def test_the_pages_name_the_prior_of_a_metric(run: Path) -> None:
    result = figures(run)
    freed, text = result["uniform_prior"], (run / "evaluation.md").read_text()
    assert "| metric (95 % interval) | training prior | uniform prior |" in text
    accuracies = " | ".join(with_interval(f, "accuracy") for f in (result, freed))
    assert f"| accuracy | {accuracies} |" in text
    line = freed["coverage"][4]
    assert f"| 70 % | {100 * result['coverage'][4]['answered']:.1f} % |" in text
    assert "uniform prior</th>" in (run / "evaluation.html").read_text()
    table = pd.read_csv(run / "evaluation.csv")
    rows = table[(table["part"] == "uniform_prior:coverage") & (table["name"] == "0.7")]
    assert rows["value"].tolist() == pytest.approx(
        [line[k] for k in ("answered", "accuracy", "uar")]
    )
    (uar,) = table[(table["part"] == "uniform_prior") & (table["metric"] == "uar")]["value"]
    assert uar == pytest.approx(freed["uar"])


def test_clips_predicted_in_blocks_have_no_metrics_under_a_uniform_prior(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / "run", evaluation={"every": 2})
    assert "uniform_prior" not in figures(folder)
    assert "uniform prior" not in (folder / "evaluation.md").read_text()


def test_clips_predicted_once_have_no_votes(run: Path) -> None:
    assert "by_vote" not in figures(run)
    assert "By vote" not in (run / "evaluation.md").read_text()


@pytest.mark.parametrize("subjects", [("1", "2", "3", "4", "5", "6"), ("",)])
def test_a_seed_with_the_same_predictions_does_not_narrow_the_intervals(
    tmp_path: Path, subjects: tuple[str, ...]
) -> None:
    samples = clips(subjects=subjects, each=24 // len(subjects))
    once = figures(fake_run(tmp_path / "once", samples=samples, seeds=(0,)))
    twice = fake_run(tmp_path / "twice", samples=samples)
    repeat_first_seed(twice)
    assert figures(twice)["accuracy_ci95"] == pytest.approx(once["accuracy_ci95"])
    assert figures(twice)["uar_ci95"] == pytest.approx(once["uar_ci95"])
    assert once["interval_over"] == ("subjects" if len(subjects) > 1 else "samples")


def test_an_interval_of_one_person_is_over_their_clips(tmp_path: Path) -> None:
    result = figures(fake_run(tmp_path / "run", samples=clips(subjects=("1",), each=24)))
    assert (result["subjects"], result["interval_over"]) == (1, "samples")
    assert result["accuracy_ci95"][0] < result["accuracy"] < result["accuracy_ci95"][1]


def test_metrics_survive_json(run: Path) -> None:
    result = evaluate(run)
    text = (run / "evaluation.json").read_text()
    assert json.loads(text) == result
    assert "NaN" not in text


def test_a_clip_whose_votes_are_tied_is_left_out_and_counted_once(tmp_path: Path) -> None:
    votes = [(0.4, 0.4, 0.2), (0.6, 0.2, 0.2), (0.45, 0.3, 0.25)]
    plain = clips(each=1)
    samples = [
        replace(s, votes=votes[k % 3], label="anger", split="valid") for k, s in enumerate(plain)
    ]
    result = figures(fake_run(tmp_path / "run", samples=samples))
    assert result["left_out"] == {"no face found": 3, "valid: tied votes": 6}
    assert (result["samples"], result["majority_samples"]) == (12, 6)
    predictions = read_run(tmp_path / "run").predictions()
    clear = [k for k, s in enumerate(predictions.samples) if s.votes == votes[1]]
    right = predictions.predicted[clear] == 0
    assert result["majority_accuracy"] == result["majority_uar"] == np.mean(right)  # one class
    for metric in ("accuracy", "uar"):
        low, high = result[f"majority_{metric}_ci95"]
        assert low < result[f"majority_{metric}"] < high
    text = (tmp_path / "run" / "evaluation.md").read_text()
    assert f"| UAR, clips with a majority label (6 clips) | {100 * right.mean():.1f} %" in text
    assert result["per_class"]["sadness"]["recall"] is None


def test_a_corpus_with_tied_votes_only_is_refused(tmp_path: Path) -> None:
    samples = [replace(s, votes=(0.5, 0.5, 0.0), label="anger") for s in clips(each=1)]
    with pytest.raises(RecipeError, match="tied"):
        evaluate(fake_run(tmp_path / "run", samples=samples))


def test_the_temperature_is_that_of_the_weights_that_are_exported(tmp_path: Path) -> None:
    several = fake_run(tmp_path / "several")
    single = fake_run(tmp_path / "single", protocol={"name": "fixed"})
    assert evaluate(several)["temperature"] == 2.0
    assert evaluate(single)["temperature"] == 1.5


def test_an_unfinished_run_is_refused_with_how_to_go_on(run: Path) -> None:
    (part_folder(run, "group 2", 1) / "fold.json").unlink()
    with pytest.raises(
        RecipeError, match=rf"only 3 of 4 folds are finished\. .*train --resume {run}"
    ):
        evaluate(run)
    assert not list(run.glob("evaluation.*"))


def test_a_run_without_its_final_training_is_refused(run: Path) -> None:
    (part_folder(run, FINAL, 0) / "fold.json").unlink()
    with pytest.raises(RecipeError, match=r"final training .*--resume"):
        evaluate(run)


def test_every_output_begins_with_the_warning(run: Path) -> None:
    evaluate(run)
    assert (run / "evaluation.md").read_text().startswith(f"> **Warning**: {LEAK}")
    assert (run / "evaluation.csv").read_text().splitlines()[1].startswith(f"warning,{LEAK}")
    page = (run / "evaluation.html").read_text()
    body = page[page.index("<body>") :]
    assert body.index("same subject in training and test") < body.index("<h1>")


def test_the_table_loads_tidily_in_pandas(run: Path) -> None:
    result = figures(run)
    table = pd.read_csv(run / "evaluation.csv")
    assert list(table.columns) == ["part", "name", "metric", "value", "low", "high"]
    assert table["value"].dtype == np.float64
    uar = table[(table["part"] == "summary") & (table["metric"] == "uar")]
    assert uar[["low", "high"]].to_numpy()[0] == pytest.approx(result["uar_ci95"])
    folds = table[(table["part"] == "fold") & (table["metric"] == "accuracy")]
    assert folds["value"].mean() == pytest.approx(result["accuracy"])  # equally large folds
    assert set(folds["name"]) == {f"group {g}/seed-{s}" for g in (1, 2) for s in (0, 1)}


def test_the_page_loads_nothing(run: Path) -> None:
    evaluate(run)
    page = (run / "evaluation.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(|\$[a-z]", page)
    assert page.count("<svg") == 4
    for piece in ("gender", "group 2", "0123abc", "no face found", "1,234,567"):
        assert piece in page


def test_names_from_a_corpus_are_escaped(tmp_path: Path) -> None:
    samples = [replace(s, groups={"<b>": "<script>"}) for s in clips()]
    samples[0] = replace(samples[0], groups={"<b>": "a | b"})
    folder = fake_run(tmp_path / "run", samples=samples)
    evaluate(folder)
    assert "<script>" not in (folder / "evaluation.html").read_text()
    assert r"| a \| b |" in (folder / "evaluation.md").read_text()


def test_an_estimator_has_no_curves(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / "run", optimiser=None, schedule=None)
    for path in folder.rglob("metrics.csv"):
        path.unlink()
    evaluate(folder)
    assert (folder / "evaluation.html").read_text().count("<svg") == 2


def test_a_confusion_chart_has_the_count_and_the_share_of_the_row() -> None:
    svg = confusion_chart(np.array([[3, 1], [0, 0]]), ("anger", "joy"))
    assert re.search(r"anger predicted as joy: 1 of 4</title>.*fill-opacity=\"0.250\"", svg)
    assert ">75<" in svg
    assert ">3<" in svg
    assert "nan" not in svg


def test_a_curve_skips_nan_and_shows_a_single_epoch() -> None:
    svg = curves_chart({"a": [(0, 1.0), (1, float("nan"))], "b": []}, "loss")
    (points,) = re.findall(r'polyline points="([^"]*)"', svg)
    assert len(set(points.split())) == 1
    assert curves_chart({"a": [(0, float("inf"))]}, "loss") == ""


def test_bars_of_the_reliability_chart_are_the_accuracy_of_their_bin() -> None:
    probs = np.array([[0.9, 0.1]] * 4)
    svg = reliability_chart(probs, np.array([0, 0, 0, 1]))
    assert "0.87 to 0.93: 75 % correct, 4 predictions" in svg


def test_the_order_of_predictions_does_not_matter(run: Path) -> None:
    """Correct predictions in another order are still correct."""
    for fold, seed in read_run(run).parts:
        path = part_folder(run, fold, seed) / "predictions.csv"
        half = np.arange(36) + (36 if fold == "group 2" else 0)
        samples = read_run(run).samples
        labels = read_run(run).labels
        table = [[r, *(float(x == samples[r].label) for x in labels)] for r in half[::-1].tolist()]
        write_table(path, ["row", *labels], table)
    assert figures(run)["accuracy"] == 1.0


def test_bytes_of_a_file_name_that_are_no_text_are_spelt_out(tmp_path: Path) -> None:
    folder = fake_run(tmp_path / "run", warnings=("leak: caf\udce9.mp4",))
    evaluate(folder)
    for suffix in ("md", "csv", "html"):
        text = (folder / f"evaluation.{suffix}").read_text(encoding="utf-8")
        assert r"leak: caf\udce9.mp4" in text
