from pathlib import Path

import pytest
from planting import ENTERFACE, facts, only, read

from emoscope.core.labels import LABEL_SETS


def test_enterface_reads_label_and_subject_of_every_code(tmp_path: Path) -> None:
    codes = {"an": "anger", "di": "disgust", "fe": "fear"}
    codes |= {"ha": "happiness", "sa": "sadness", "su": "surprise"}
    names = [
        f"subject {s}/{label}/sentence {n}/s{s}_{code}_{n}.avi"
        for s in (1, 2, 10)
        for code, label in codes.items()
        for n in (1, 2)
    ]
    manifest = read("enterface05", tmp_path, *names)
    assert manifest.labels == LABEL_SETS["basic6"].labels
    assert manifest.counts("label") == dict.fromkeys(sorted(codes.values()), 6)
    assert manifest.counts("subject") == {"1": 12, "10": 12, "2": 12}
    assert all(sample.path.parents[1].name == sample.label for sample in manifest.samples)
    assert [s.subject for s in manifest.samples][::12] == ["1", "2", "10"]
    assert manifest.counts("split") == {"": 36}
    assert manifest.left_out == {}


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("subject 6/anger/s6_an_1.avi", "6"),  # has no sentence folders
        ("enterface database/subject 11/anger/sentence 3/s11_an_3.avi", "11"),
        ("Subject 3/Anger/Sentence 5/S_3_AN_5.AVI", "3"),
        ("subject 7/anger/sentence 1/clip.avi", "7"),
        ("subject 7/anger/sentence 1/s7_xx_1.avi", "7"),
        ("subject 8/sentence 1/s8_an_1.avi", "8"),
    ],
)
def test_enterface_accepts_the_names_of_several_releases(
    tmp_path: Path, name: str, subject: str
) -> None:
    assert facts(read("enterface05", tmp_path, name)) == [("anger", subject)]


def test_enterface_prefers_the_code_in_the_name_to_the_folder(tmp_path: Path) -> None:
    assert only(read("enterface05", tmp_path, "subject 1/anger/s1_di_1.avi")).label == "disgust"


def test_enterface_counts_what_it_leaves_out_by_reason(tmp_path: Path) -> None:
    odd = ["subject 1/Thumbs.db", "subject 1/odd/s1_zz_1.avi", "anger/s1_an_1.avi"]
    hidden = ["subject 1/anger/sentence 1/._s1_an_1.avi", "__MACOSX/subject 1/anger/s1_an_1.avi"]
    manifest = read("enterface05", tmp_path, ENTERFACE, *odd, *hidden, "subject 1/odd/x.avi")
    assert len(manifest.samples) == 1
    assert manifest.left_out == {
        "hidden file": 2,
        "not a recording": 1,
        "unknown code 'zz'": 1,
        "no emotion in name or folder": 1,
        "no subject folder": 1,
    }
