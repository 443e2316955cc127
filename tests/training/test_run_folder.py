"""Reading run folders, complete and damaged."""

from pathlib import Path

import numpy as np
import pytest
from fake_runs import LABELS, clips, fake_run, recipe

from emoscope.core.errors import EmoscopeError, RecipeError, UnknownName
from emoscope.training.run_folder import (
    FINAL,
    part_folder,
    read_json,
    read_run,
    read_table,
    write_table,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_run(tmp_path / "run")


def refusal(folder: Path) -> str:
    """The one-line message for a run whose predictions are read."""
    with pytest.raises(EmoscopeError) as raised:
        read_run(folder).predictions()
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_a_run_is_read_as_it_was_written(folder: Path) -> None:
    run = read_run(folder)
    assert run.recipe == recipe()
    assert run.labels == LABELS
    assert run.samples == tuple(clips())
    assert run.info["left_out"] == {"no face found": 3}
    assert [fold["name"] for fold in run.folds] == ["group 1", "group 2"]
    assert [fold["name"] for fold in run.planned] == ["group 1", "group 2", FINAL]
    assert run.parts == [(f"group {i}", seed) for seed in (0, 1) for i in (1, 2)]
    assert run.missing == []
    assert run.exported == (FINAL, 0)


def test_predictions_join_every_fold_and_seed(folder: Path) -> None:
    run = read_run(folder)
    predictions = run.predictions()
    assert len(predictions.samples) == 2 * 72
    assert predictions.probs.shape == (144, 3)
    assert predictions.seeds.tolist() == [0] * 72 + [1] * 72
    assert predictions.folds == ("group 1",) * 36 + ("group 2",) * 36 + predictions.folds[:72]
    for place in (0, 40, 100):
        row = run.samples.index(predictions.samples[place])
        table = read_table(
            run.part(predictions.folds[place], predictions.seeds[place]) / "predictions.csv"
        )
        (line,) = [line for line in table if line["row"] == str(row)]
        assert predictions.probs[place].tolist() == [float(line[label]) for label in LABELS]
    assert [LABELS[column] for column in predictions.truth] == [
        sample.label for sample in predictions.samples
    ]
    assert predictions.subjects.tolist() == [sample.subject for sample in predictions.samples]
    assert (predictions.predicted == predictions.probs.argmax(axis=1)).all()


def test_predictions_are_read_for_the_requested_vote(tmp_path: Path) -> None:
    voted = {"every": 1, "vote": "max-probability"}
    run = read_run(fake_run(tmp_path / "run", evaluation=voted))
    assert run.votes == ("max-probability", "sum-probability", "expressive-weighted")
    own = run.predictions()
    np.testing.assert_array_equal(run.predictions("max-probability").probs, own.probs)
    other = run.predictions("sum-probability")
    assert other.samples == own.samples
    assert not np.array_equal(other.probs, own.probs)
    place = 40
    folder = run.part(other.folds[place], other.seeds[place])
    row = str(run.samples.index(other.samples[place]))
    (line,) = [x for x in read_table(folder / "predictions-sum-probability.csv") if x["row"] == row]
    assert other.probs[place].tolist() == [float(line[label]) for label in LABELS]
    (folder / "predictions-sum-probability.csv").unlink()
    with pytest.raises(RecipeError, match=r"predictions-sum-probability\.csv: not readable"):
        run.predictions("sum-probability")


def test_a_vote_without_predictions_is_refused(folder: Path) -> None:
    run = read_run(folder)
    assert run.votes == ("sum-probability",)
    with pytest.raises(
        RecipeError, match=r"no predictions by the vote max-probability.*evaluation\.every"
    ):
        run.predictions("max-probability")
    with pytest.raises(UnknownName, match="Did you mean 'max-probability'"):
        run.predictions("max-prob")


def test_an_unfinished_run_has_the_predictions_of_its_finished_folds(folder: Path) -> None:
    run = read_run(folder)
    (run.part("group 2", 1) / "fold.json").unlink()
    assert run.missing == [("group 2", 1)]
    assert len(run.predictions().samples) == 2 * 72 - 36
    assert [(r["fold"], r["seed"]) for r in run.results()] == [
        ("group 1", 0), ("group 2", 0), ("group 1", 1)
    ]  # fmt: skip
    for part in run.parts:
        (run.part(*part) / "fold.json").unlink(missing_ok=True)
    assert refusal(folder) == (
        f"{folder}: no fold is finished. Resume it with `emoscope train --resume {folder}`."
    )


def test_histories_are_the_logs_of_every_part(folder: Path) -> None:
    run = read_run(folder)
    histories = run.histories()
    assert list(histories) == run.parts
    assert [row["epoch"] for row in histories["group 1", 1]] == ["0", "1", "2"]
    (run.part("group 1", 1) / "metrics.csv").unlink()  # an estimator has none
    assert list(read_run(folder).histories()) == [run.parts[0], run.parts[1], run.parts[3]]


def test_the_weights_of_a_single_fold_are_exported(tmp_path: Path) -> None:
    run = read_run(fake_run(tmp_path / "run", protocol={"name": "fixed"}, seeds=(4, 2)))
    assert run.exported == ("valid", 4)


@pytest.mark.parametrize("name", ["recipe.json", "run.json", "corpus.csv", "folds.json"])
def test_the_missing_file_of_a_run_folder_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refusal(folder) == f"{folder}: not a run folder: {name} missing."


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert "recipe.json, run.json, corpus.csv, folds.json missing" in refusal(tmp_path)
    assert "not a run folder" in refusal(tmp_path / "none")


@pytest.mark.parametrize("name", ["recipe.json", "run.json", "corpus.csv", "folds.json"])
@pytest.mark.parametrize("content", [b"", b'{"name": "fa', b"\xff\xfe\x00", b"a,b\n1,2\n"])
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / name}")


def test_an_unknown_key_in_the_stored_recipe_is_named(folder: Path) -> None:
    path = folder / "recipe.json"
    path.write_text(path.read_text().replace('"batch_size"', '"portion"'))
    assert refusal(folder).startswith(f"{path}: schedule.portion: ")


# Issue 18, kind 9: a label named like a column of the table ended as "damaged"
def test_a_label_may_have_the_name_of_a_column(tmp_path: Path) -> None:
    labels = ("anger", "row", "sadness")
    run = read_run(fake_run(tmp_path / "run", labels=labels, draw=3))
    plain = read_run(fake_run(tmp_path / "plain", draw=3))
    np.testing.assert_array_equal(run.predictions().probs, plain.predictions().probs)


def test_predictions_are_read_by_the_names_of_their_columns(folder: Path) -> None:
    before = read_run(folder).predictions().probs
    for path in folder.rglob("predictions.csv"):
        table = read_table(path)
        names = ["row", *reversed(LABELS)]
        write_table(path, names, [[line[name] for name in names] for line in table])
    np.testing.assert_array_equal(read_run(folder).predictions().probs, before)


def test_missing_rows_of_a_table_are_reported(folder: Path) -> None:
    path = folder / "corpus.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert refusal(folder) == f"{path}: damaged: rows are missing. Train again."


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],  # cut off after a row
        lambda lines: [*lines[:-1], lines[-1][:4]],  # ... or in it
        lambda lines: [lines[0].replace("sadness", "boredom"), *lines[1:]],
        lambda lines: [lines[0], "x" + lines[1], *lines[2:]],
        lambda lines: [lines[0], *lines[1:-1], lines[1]],  # a clip twice, another not at all
        lambda lines: [],
    ],
)
def test_damaged_predictions_are_detected(folder: Path, change: object) -> None:
    path = part_folder(folder, "group 2", 0) / "predictions.csv"
    lines = change(path.read_text().splitlines())  # type: ignore[operator]
    path.write_text("\n".join(lines) + "\n")
    assert refusal(folder) == (
        f"{path}: damaged: not one prediction for each of 36 test clips. Delete {path.parent}. "
        f"Resume it with `emoscope train --resume {folder}`."
    )


def test_predictions_that_are_gone_are_named(folder: Path) -> None:
    path = part_folder(folder, "group 1", 0) / "predictions.csv"
    path.unlink()
    assert refusal(folder).startswith(f"{path}: not readable: ")


def test_folds_whose_names_look_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    names = [
        "a/b",
        "a b",
        "a-b",
        "a_b",
        "a\\b",
        "a%2Fb",
        "a:b",
        ".",
        "..",
        "...",
        "%2E",
        "a",
        "A b",
    ]
    folders = [part_folder(tmp_path, name, 3) for name in names]
    assert len(set(folders)) == len(names)
    for place in folders:
        assert place.name == "seed-3"
        assert place.parents[1] == tmp_path / "folds", "none climbs out, none nests"
        assert set(place.parent.name).isdisjoint('\\/:*?"<>|')
        write_table(place / "predictions.csv", ["row"], [[1]])
    assert len(list(tmp_path.glob("folds/*/seed-3/predictions.csv"))) == len(names)


def test_usual_names_of_folds_stay_as_they_are(tmp_path: Path) -> None:
    for name in ("S005", "fold 1", "augmented-random", "p_1.a"):
        assert part_folder(tmp_path, name, 0) == tmp_path / "folds" / name / "seed-0"
    assert part_folder(tmp_path, FINAL, 0) == tmp_path / "final" / "seed-0"


def test_an_unreadable_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.json: not readable: "):
        read_json(tmp_path / "none.json")
