from collections import Counter
from pathlib import Path

import pytest

from emoscope.core.errors import CorpusError
from emoscope.corpora.manifest import Sample
from emoscope.training.splits import (
    Fold,
    augmented_random,
    fixed,
    group_k_fold,
    held_out_subjects,
    leaks,
    leave_one_group_out,
    leave_one_subject_out,
    refuse_leaks,
    stratified_group_holdout,
)

LABELS = ("anger", "fear", "sadness")


def corpus(people: int = 10, each: int = 6) -> list[Sample]:
    return [
        Sample(Path(f"{who}-{i}.mp4"), LABELS[i % 3], subject=f"S{who}")
        for who in range(1, people + 1)
        for i in range(each)
    ]


def assert_partition(folds: list[Fold], samples: list[Sample]) -> None:
    """Every sample is tested once, by a fold that was not trained on it."""
    judged = Counter(sample.path for fold in folds for sample in fold.test)
    assert judged == Counter(sample.path for sample in samples)
    for fold in folds:
        assert len(fold.train) + len(fold.test) == len(samples)
        assert leaks(fold) == {}


def test_loso_leaves_each_person_out_once_in_natural_order() -> None:
    samples = corpus(people=11)
    folds = list(leave_one_subject_out(samples))
    assert [fold.name for fold in folds] == [f"S{i}" for i in range(1, 12)]
    assert all({s.subject for s in fold.test} == {fold.name} for fold in folds)
    assert_partition(folds, samples)


def test_five_groups_of_43_persons_are_of_nearly_equal_size() -> None:
    samples = corpus(people=43, each=2)
    folds = list(leave_one_group_out(samples, 5))
    assert [len({s.subject for s in fold.test}) for fold in folds] == [9, 9, 9, 8, 8]
    assert [s.subject for s in folds[0].test[::2]] == [f"S{i}" for i in range(1, 10)]
    assert_partition(folds, samples)


def test_k_folds_keep_persons_whole_and_sizes_near() -> None:
    samples = corpus(people=8, each=3) + [
        Sample(Path(f"long-{i}.mp4"), LABELS[i % 3], subject="S99") for i in range(8)
    ]
    folds = list(group_k_fold(samples, 4, seed=1))
    assert_partition(folds, samples)
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 3
    again = list(group_k_fold(samples, 4, seed=1))
    assert [fold.test for fold in folds] == [fold.test for fold in again]
    others = list(group_k_fold(samples, 4, seed=2))
    assert [fold.test for fold in folds] != [fold.test for fold in others]


def test_a_holdout_takes_whole_persons_and_keeps_the_labels_shares() -> None:
    # Persons differ: half of them show mostly anger, half mostly fear.
    samples = [
        Sample(Path(f"{who}-{i}.mp4"), "anger" if (i < 8) == (who % 2 == 0) else "fear", f"S{who}")
        for who in range(20)
        for i in range(10)
    ]
    fold = stratified_group_holdout(samples, 0.3, seed=0)
    assert len(fold.test) == 60
    assert leaks(fold) == {}
    shares = Counter(sample.label for sample in fold.test)
    assert abs(shares["anger"] - 30) <= 4


def test_persons_are_held_out_by_name() -> None:
    samples = corpus(people=4)
    fold = held_out_subjects(samples, ("S4", "S2"))
    assert {s.subject for s in fold.test} == {"S2", "S4"}
    assert_partition([fold, held_out_subjects(samples, ("S1", "S3"))], samples)
    with pytest.raises(CorpusError, match=r"has the subject 'S44'\. Did you mean 'S4'\?"):
        held_out_subjects(samples, ("S4", "S44"))
    with pytest.raises(CorpusError, match=r"'P001'\. They are S1, S2, S3 \.\.\."):
        held_out_subjects(samples, ("P001",))


def test_a_fixed_split_is_the_corpus_own() -> None:
    samples = [Sample(Path(f"{i}.png"), "fear", split=p) for i, p in enumerate(["train", "valid"])]
    fold = fixed(samples)
    assert (fold.train, fold.test) == ((samples[0],), (samples[1],))
    with pytest.raises(CorpusError, match=r"no part 'test'\. Known: train, valid"):
        fixed(samples, "test")


def test_the_augmented_random_split_leaks_and_is_refused() -> None:
    fold = augmented_random(corpus(people=10, each=3), variants=62)
    assert len(fold.test) == round(0.2 * 30 * 62)
    assert len({(s.path, s.groups["variant"]) for s in (*fold.train, *fold.test)}) == 30 * 62
    assert len(leaks(fold)["recording"]) == 30
    assert len(leaks(fold)["subject"]) == 10
    with pytest.raises(CorpusError, match=r"same subject in training and test: S1, S10, S2 \.\.\."):
        refuse_leaks(fold)


def test_byte_identical_recordings_of_two_persons_are_a_leak(tmp_path: Path) -> None:
    contents = {"a.wav": b"one", "b.wav": b"two", "c.wav": b"one"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    samples = [Sample(tmp_path / name, "fear", subject=name) for name in contents]
    clean = Fold("clean", (samples[0],), (samples[1],))
    assert leaks(clean) == {}
    refuse_leaks(clean)
    twins = Fold("twins", (samples[0],), (samples[2],))
    assert set(leaks(twins)) == {"content"}
    with pytest.raises(CorpusError, match="same content"):
        refuse_leaks(twins)


def test_twin_sequences_of_pictures_are_a_leak(tmp_path: Path) -> None:
    for folder, content in (("P001", b"one"), ("P002", b"one"), ("P003", b"two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "000.jpeg").write_bytes(content)
    one, twin, other = (Sample(tmp_path / f"P00{i}", "fear", f"P00{i}") for i in (1, 2, 3))
    assert leaks(Fold("clean", (one,), (other,))) == {}
    leaked = leaks(Fold("twins", (one,), (twin,)))
    assert leaked == {"content": (f"{one.path} = {twin.path}",)}


def test_a_corpus_without_persons_cannot_be_split_by_person() -> None:
    samples = [*corpus(people=2, each=2), Sample(Path("x.mp4"), "fear")]
    with pytest.raises(CorpusError, match="1 of 5 samples have no subject"):
        list(leave_one_subject_out(samples))


@pytest.mark.parametrize(
    "split",
    [
        leave_one_subject_out,
        lambda samples: leave_one_group_out(samples, 5),
        lambda samples: group_k_fold(samples, 5),
        lambda samples: [stratified_group_holdout(samples, 0.2)],
        lambda samples: [held_out_subjects(samples, ("S1",))],
    ],
)
def test_too_few_persons_are_refused(split: object) -> None:
    with pytest.raises(CorpusError, match=r"needs \d subjects or more, the corpus has 1"):
        list(split(corpus(people=1)))  # type: ignore[operator]


# Issue 18, kind 4: the guard compared spellings, so that one person was on both sides

SPELLINGS = ("S1", "S1 ", "S1\u00a0", "s1")
NUMBERS = ("1", "1.0", "01")
FORMS = ("Zo\u00eb", "Zoe\u0308")


@pytest.mark.parametrize("names", [SPELLINGS, NUMBERS, FORMS], ids=ascii)
@pytest.mark.parametrize("split", ["loso", "groups", "k-fold", "holdout", "held out"])
def test_spellings_of_one_person_are_on_one_side(names: tuple[str, ...], split: str) -> None:
    others = [Sample(Path(f"{who}-{i}.mp4"), "fear", f"p{who}") for who in range(3) for i in "ab"]
    same = [Sample(Path(f"same-{i}.mp4"), "fear", name) for i, name in enumerate(names)]
    samples = [*others, *same]
    folds = {
        "loso": lambda: list(leave_one_subject_out(samples)),
        "groups": lambda: list(leave_one_group_out(samples, 4)),
        "k-fold": lambda: list(group_k_fold(samples, 4)),
        "holdout": lambda: [stratified_group_holdout(samples, 0.3, seed) for seed in range(8)],
        "held out": lambda: [held_out_subjects(samples, (names[1],))],
    }[split]()
    for fold in folds:
        assert sum(sample in fold.test for sample in same) in (0, len(names))
        assert sum(sample in fold.train for sample in same) in (0, len(names))
        assert leaks(fold) == {}
    if split == "loso":
        assert len(folds) == 4
        assert names[0] in {fold.name for fold in folds}


@pytest.mark.parametrize("names", [SPELLINGS, NUMBERS, FORMS], ids=ascii)
def test_spellings_of_one_person_on_both_sides_are_a_leak(names: tuple[str, ...]) -> None:
    one, other = (Sample(Path(f"{i}.mp4"), "fear", name) for i, name in enumerate(names[:2]))
    fold = Fold("split", (one,), (other,))
    assert leaks(fold) == {"subject": (" = ".join(sorted(names[:2])),)}
    with pytest.raises(CorpusError, match="same subject in training and test"):
        refuse_leaks(fold)
