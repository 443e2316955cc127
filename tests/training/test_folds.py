"""Folds of every protocol: training side, hold-out, test side, and refused leaks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from emoscope.core.errors import CorpusError, RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.training.folds import Plan, Rows, check_persons, plan_folds
from emoscope.training.recipe import Protocol

LABELS = ("anger", "fear", "sadness")
BY_PERSON: list[dict[str, Any]] = [
    {"name": "leave-one-subject-out"},
    {"name": "leave-one-group-out", "groups": 3},
    {"name": "group-k-fold", "k": 3},
    {"name": "stratified-group-holdout", "part": 0.4},
    {"name": "held-out-subjects", "subjects": ("S0", "S3")},
]
FIXED = {"name": "fixed", "test": "valid"}


def corpus(people: int = 6, each: int = 3) -> list[Sample]:
    """`each` clips of every person, with a different label each."""
    return [
        Sample(Path(f"{who}-{i}.mp4"), LABELS[i % 3], subject=f"S{who}")
        for who in range(people)
        for i in range(each)
    ]


def split_corpus(**counts: int) -> list[Sample]:
    """Samples without a subject, this many of each part."""
    return [
        Sample(Path(f"{part}{i}.png"), LABELS[i % 3], split=part)
        for part, count in counts.items()
        for i in range(count)
    ]


def plan(samples: Sequence[Sample], protocol: dict[str, Any], seed: int = 0, **more: Any) -> Plan:
    settings: Protocol = TypeAdapter(Protocol).validate_python({**protocol, **more})
    return plan_folds(samples, LABELS, settings, seed, final="final")


def who(planned: Plan, rows: Sequence[int]) -> set[str]:
    return {planned.samples[row].subject for row in rows}


def paths(planned: Plan, rows: Sequence[int]) -> list[str]:
    return [planned.samples[row].path.stem for row in rows]


def refusal(samples: Sequence[Sample], protocol: dict[str, Any], **more: Any) -> str:
    with pytest.raises((CorpusError, RecipeError)) as raised:
        plan(samples, protocol, **more)
    message = str(raised.value)
    assert "\n" not in message
    return message


def write(folder: Path, **contents: str) -> dict[str, Path]:
    for name, content in contents.items():
        (folder / name).write_text(content)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize("holdout", [0.0, 0.3])
@pytest.mark.parametrize("protocol", BY_PERSON, ids=lambda protocol: protocol["name"])
def test_each_person_is_on_one_side(protocol: dict[str, Any], holdout: float) -> None:
    samples = corpus()
    planned = plan(samples, protocol, holdout=holdout)
    assert planned.samples == tuple(samples), "row i is sample i of the corpus"
    for fold in planned.folds:
        sides = (fold.train, fold.holdout, fold.test)
        assert sorted(row for side in sides for row in side) == list(range(18))
        people = [who(planned, side) for side in sides]
        assert sum(map(len, people)) == len(set.union(*people)) == 6
        assert bool(people[1]) == (holdout > 0)
        assert fold.leaks == {}
        assert all(list(side) == sorted(side) for side in sides)
    assert planned.warnings == ()
    assert planned.left_out == {}


@pytest.mark.parametrize("protocol", BY_PERSON[:3], ids=lambda protocol: protocol["name"])
def test_every_sample_is_tested_once_and_the_final_training_has_all(
    protocol: dict[str, Any],
) -> None:
    planned = plan(corpus(), protocol)
    assert sorted(row for fold in planned.folds for row in fold.test) == list(range(18))
    assert planned.final == Rows("final", train=tuple(range(18)), holdout=(), test=())
    held = plan(corpus(), protocol, holdout=0.3).final
    assert held is not None
    assert sorted(held.train + held.holdout) == list(range(18))
    assert who(planned, held.train).isdisjoint(who(planned, held.holdout))
    assert held.test == ()


def test_a_single_fold_has_no_final_training() -> None:
    assert plan(corpus(), BY_PERSON[3]).final is None
    assert plan(split_corpus(train=3, valid=3), FIXED).final is None


def test_folds_are_those_that_the_protocol_names() -> None:
    loso = plan(corpus(), BY_PERSON[0])
    assert [fold.name for fold in loso.folds] == [f"S{i}" for i in range(6)]
    assert all(who(loso, fold.test) == {fold.name} for fold in loso.folds)
    assert paths(loso, loso.folds[4].test) == ["4-0", "4-1", "4-2"]
    groups = plan(corpus(), BY_PERSON[1])
    assert [who(groups, fold.test) for fold in groups.folds] == [
        {"S0", "S1"},
        {"S2", "S3"},
        {"S4", "S5"},
    ]
    k_folds = plan(corpus(), BY_PERSON[2], seed=0)
    assert [len(fold.test) for fold in k_folds.folds] == [6, 6, 6]
    held = plan(corpus(people=10), BY_PERSON[3])
    assert len(who(held, held.folds[0].test)) == 4


def test_the_fixed_split_leaves_out_the_unused_part() -> None:
    samples = split_corpus(test=2, valid=2, train=4)
    planned = plan(samples, FIXED)
    (fold,) = planned.folds
    assert paths(planned, fold.train) == ["train0", "train1", "train2", "train3"]
    assert paths(planned, fold.test) == ["valid0", "valid1"]
    assert paths(planned, range(6)) == [
        "valid0", "valid1", "train0", "train1", "train2", "train3"
    ]  # fmt: skip
    assert paths(*_tested(plan(samples, {**FIXED, "test": "test"}))) == ["test0", "test1"]


def _tested(planned: Plan) -> tuple[Plan, tuple[int, ...]]:
    return planned, planned.folds[0].test


def test_the_protocols_seed_draws_folds_and_the_recipes_seed_the_hold_out() -> None:
    by_seed = [plan(corpus(people=12), BY_PERSON[2] | {"seed": seed}) for seed in (0, 0, 1)]
    assert by_seed[0] == by_seed[1]
    assert by_seed[0].folds != by_seed[2].folds
    held = [plan(corpus(people=12), BY_PERSON[2], seed=s, holdout=0.3).folds for s in (0, 0, 1)]
    assert held[0] == held[1]
    assert [fold.test for fold in held[0]] == [fold.test for fold in held[2]]
    assert [fold.holdout for fold in held[0]] != [fold.holdout for fold in held[2]]


def test_without_known_persons_whole_recordings_are_held_out(tmp_path: Path) -> None:
    """Every picture is there twice, under two names."""
    samples = [
        Sample(path, LABELS[int(name[1:]) % 3], split="train")
        for name, path in write(
            tmp_path, **{f"{copy}{i}": f"picture {i}" for copy in "ab" for i in range(10)}
        ).items()
    ]
    planned = plan([*samples, *split_corpus(valid=1)], FIXED, holdout=0.3)
    (fold,) = planned.folds
    kept, held = ({path[1:] for path in paths(planned, s)} for s in (fold.train, fold.holdout))
    assert kept.isdisjoint(held)
    assert len(held) == 3
    assert len(fold.train) + len(fold.holdout) == 20


def test_the_hold_out_of_a_seed_never_changes() -> None:
    samples = split_corpus(train=10, valid=1)
    planned = plan(samples, FIXED, holdout=0.3)
    assert paths(planned, planned.folds[0].holdout) == ["train2", "train4", "train6"]
    other = plan(samples, FIXED, seed=1, holdout=0.3)
    assert other.folds[0].holdout != planned.folds[0].holdout
    turned = plan(samples[::-1], FIXED, holdout=0.3)
    assert set(paths(turned, turned.folds[0].holdout)) == {"train2", "train4", "train6"}


@pytest.mark.parametrize("holdout", [0.01, 0.99])
def test_neither_the_hold_out_nor_the_training_side_is_empty(holdout: float) -> None:
    for planned in (
        plan(split_corpus(train=4, valid=1), FIXED, holdout=holdout),
        plan(corpus(), BY_PERSON[0], holdout=holdout),
    ):
        assert all(fold.train and fold.holdout for fold in planned.folds)


def test_a_hold_out_needs_two_persons_or_recordings() -> None:
    message = refusal(corpus(people=2), BY_PERSON[0], holdout=0.3)
    assert message.startswith("Fold 'S0' has one person to learn from: none can be held out.")
    message = refusal(split_corpus(train=1, valid=1), FIXED, holdout=0.3)
    assert message.startswith("Fold 'valid' has one recording to learn from")


def test_a_hold_out_of_tied_votes_only_is_refused() -> None:
    tied = [
        Sample(Path(f"{i}.png"), "fear", split=part, votes=(0.5, 0.5, 0.0))
        for i, part in enumerate(["train"] * 4 + ["valid"])
    ]
    message = refusal(tied, FIXED, holdout=0.3)
    assert message.startswith("Fold 'valid': the votes on all held-out samples are tied.")


def twin_corpus(folder: Path) -> list[Sample]:
    """One picture of S0 has the bytes of one of S1."""
    files = write(folder, a="one", b="two", c="one", d="four")
    people = ("S0", "S0", "S1", "S1")
    return [
        Sample(path, label, subject)
        for path, label, subject in zip(files.values(), ("anger", "fear") * 2, people, strict=True)
    ]


def test_twins_on_both_sides_are_refused(tmp_path: Path) -> None:
    message = refusal(twin_corpus(tmp_path), BY_PERSON[0])
    assert f"same content in training and test: {tmp_path}/a = {tmp_path}/c" in message


def test_drop_twins_leaves_twins_out_of_training_and_counts_them(tmp_path: Path) -> None:
    samples = twin_corpus(tmp_path)
    planned = plan(samples, BY_PERSON[0], drop_twins=True)
    first, second = planned.folds
    assert paths(planned, first.test) == ["a", "b"]
    assert paths(planned, first.train) == ["d"]
    assert paths(planned, second.train) == ["b"]
    assert planned.left_out == {"training sides: same bytes as on the test side": 2}
    assert planned.final is not None
    assert len(planned.final.train) == 4, "it is judged on nothing"

    halves = [Sample(s.path, s.label, split=p) for s, p in zip(samples, _HALVES, strict=True)]
    planned = plan(halves, FIXED, drop_twins=True)
    assert [sample.path.name for sample in planned.samples] == ["b", "c", "d"]
    assert paths(planned, planned.folds[0].train) == ["b"]
    assert planned.left_out == {"training side: same bytes as on the test side": 1}


_HALVES = ("train", "train", "valid", "valid")


def test_a_fold_with_only_twins_to_train_on_is_refused(tmp_path: Path) -> None:
    files = write(tmp_path, a="one", b="one")
    samples = [Sample(path, "fear", subject) for subject, path in files.items()]
    message = refusal(samples, BY_PERSON[0], drop_twins=True)
    assert message == "Fold 'a' has no training sample. Choose another protocol."


def test_an_allowed_leak_gives_a_warning_for_every_fold(tmp_path: Path) -> None:
    samples = twin_corpus(tmp_path)
    planned = plan(samples, BY_PERSON[0], allow_leak=True)
    pair = f"{tmp_path}/a = {tmp_path}/c"
    assert [fold.leaks for fold in planned.folds] == [{"content": (pair,)}] * 2
    assert planned.warnings[0] == (
        "LEAK: fold 'S0' has the same contents (1) in training and test. Its figures are inflated."
    )
    assert len([text for text in planned.warnings if text.startswith("LEAK")]) == 2


def test_a_recording_on_both_sides_of_a_fixed_split_is_a_leak() -> None:
    film = [
        Sample(Path("film.mp4"), label, split=part, start_s=i, end_s=i + 1)
        for i, (label, part) in enumerate(
            [("fear", "train"), ("anger", "train"), ("fear", "valid")]
        )
    ]
    assert "has the same recording in training and test: film.mp4" in refusal(film, FIXED)


def test_a_person_on_both_sides_of_a_fixed_split_is_a_leak() -> None:
    samples = [
        Sample(Path(f"{i}.mp4"), "fear", "S1", part) for i, part in enumerate(["train", "valid"])
    ]
    assert "has the same subject in training and test: S1" in refusal(samples, FIXED)


def test_variants_are_on_both_sides_and_each_has_its_own_row() -> None:
    protocol = {"name": "augmented-random-80-20", "variants": 5}
    assert "has the same subject" in refusal(corpus(), protocol)
    planned = plan(corpus(), protocol, allow_leak=True, holdout=0.2)
    (fold,) = planned.folds
    sides = (fold.train, fold.holdout, fold.test)
    assert sorted(row for side in sides for row in side) == list(range(18 * 5))
    assert len(fold.test) == 18
    keys = {(sample.path, sample.groups["variant"]) for sample in planned.samples}
    assert len(keys) == 18 * 5
    assert planned.final is None
    assert set(fold.leaks) == {"subject", "recording"}
    held, kept = (set(paths(planned, side)) for side in (fold.holdout, fold.train))
    assert held.isdisjoint(kept), "the hold-out at least is of other recordings"
    assert who(planned, fold.holdout) & who(planned, fold.train), "of persons it cannot be"
    people, films = len(fold.leaks["subject"]), len(fold.leaks["recording"])
    assert planned.warnings[0].startswith(
        f"LEAK: fold 'augmented-random' has the same subjects ({people}) and recordings ({films})"
    )


def test_a_label_without_training_samples_gives_a_warning() -> None:
    samples = [s for s in corpus(people=3) if s.label != "fear" or s.subject == "S1"]
    planned = plan(samples, BY_PERSON[0])
    assert planned.warnings == ("Fold 'S1' has no training sample of fear.",)
    one_of_a_kind = plan([*samples, Sample(Path("x.mp4"), "fear", "S2")], BY_PERSON[0])
    assert one_of_a_kind.warnings == ()


@pytest.mark.parametrize("protocol", BY_PERSON, ids=lambda protocol: protocol["name"])
def test_one_person_only_is_refused(protocol: dict[str, Any]) -> None:
    assert "subjects or more, the corpus has 1" in refusal(corpus(people=1), protocol)


@pytest.mark.parametrize("protocol", BY_PERSON, ids=lambda protocol: protocol["name"])
def test_a_corpus_without_persons_is_refused(protocol: dict[str, Any]) -> None:
    assert "4 of 4 samples have no subject" in refusal(split_corpus(train=4), protocol)


def test_a_part_that_the_corpus_does_not_have_is_named() -> None:
    message = refusal(split_corpus(train=2, test=2), FIXED)
    assert message == "The corpus has no part 'valid'. Known: test, train."


def test_a_person_named_as_the_final_training_is_refused() -> None:
    samples = [Sample(Path(f"{name}.mp4"), "fear", name) for name in ("final", "first")]
    assert refusal(samples, BY_PERSON[0]).startswith("A person is named 'final'")


# Issue 18, kind 17: a class with one sample was refused after two folds, by its number
@pytest.mark.parametrize("each", [1, 2])
def test_a_class_that_an_estimator_learns_from_one_person_is_refused_by_name(each: int) -> None:
    rare = [Sample(Path(f"rare-{i}.mp4"), "sadness", "S1") for i in range(each)]
    samples = [s for s in corpus() if s.label != "sadness"]
    check_persons(plan(samples, BY_PERSON[0]), "egemaps-svc")
    with pytest.raises(RecipeError, match=f"^sadness has {each} samples?, too few: fold 'S0'"):
        check_persons(plan([*samples, *rare], BY_PERSON[0]), "egemaps-svc")
