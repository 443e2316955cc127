from pathlib import Path

import pytest
from planting import pictures
from refusing import refusal

from emoscope.core.labels import LABEL_SETS
from emoscope.corpora import read_corpus
from emoscope.corpora.readers.ckplus import read_ckplus
from emoscope.media.video import read_frames


def ckplus(root: Path, subject: str, sequence: str, emotion: str | None, count: int = 2) -> None:
    """A sequence of CK+; `emotion` is the text of its file, which may be absent."""
    stem = f"{subject}_{sequence}_"
    pictures(root / "cohn-kanade-images" / subject / sequence, stem, ".png", count)
    folder = root / "Emotion" / subject / sequence
    folder.mkdir(parents=True, exist_ok=True)  # the corpus has empty ones
    if emotion is not None:
        (folder / f"{stem}{count:08d}_emotion.txt").write_text(emotion)


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (0, "neutral"),
        (1, "anger"),
        (2, "contempt"),
        (3, "disgust"),
        (4, "fear"),
        (5, "happiness"),
        (6, "sadness"),
        (7, "surprise"),
    ],
)
def test_the_float_of_ckplus_is_a_label(tmp_path: Path, code: int, label: str) -> None:
    ckplus(tmp_path, "S005", "001", f"   {code}.0000000e+00\n")
    corpus = read_corpus("ckplus", tmp_path)
    (sample,) = corpus.samples
    assert corpus.labels == LABEL_SETS["ckplus8"].labels
    assert sample.label == label
    assert (sample.subject, sample.fps, sample.split) == ("S005", 30, "")
    assert sample.path == tmp_path / "cohn-kanade-images" / "S005" / "001"
    assert len(list(read_frames(sample.path, image_fps=30))) == 2


def test_sequences_of_ckplus_without_emotion_or_pictures_are_counted(tmp_path: Path) -> None:
    ckplus(tmp_path, "S010", "002", "7.0")
    ckplus(tmp_path, "S010", "001", "3.0")
    ckplus(tmp_path, "S011", "001", None)
    ckplus(tmp_path, "S011", "002", None)
    ckplus(tmp_path, "S012", "001", "1.0", count=0)
    (tmp_path / "Emotion/S011/001/._S011_001_00000002_emotion.txt").write_bytes(b"\0\5\x16")
    (tmp_path / "cohn-kanade-images/S011/.DS_Store").touch()
    pictures(tmp_path / "cohn-kanade-images/S013/001", "S013_001_", ".png")  # in no Emotion folder
    corpus = read_ckplus(tmp_path)
    assert [(s.subject, s.path.name, s.label) for s in corpus.samples] == [
        ("S010", "001", "disgust"),
        ("S010", "002", "surprise"),
    ]
    assert corpus.left_out == {"no emotion file": 3, "no pictures": 1}


@pytest.mark.parametrize("text", ["8.0", "1.5", "-1", "nan", "", "happy", "1.0 2.0"])
def test_an_invalid_emotion_file_of_ckplus_is_named(tmp_path: Path, text: str) -> None:
    ckplus(tmp_path, "S005", "001", text)
    message = refusal(lambda: read_ckplus(tmp_path))
    assert "S005_001_00000002_emotion.txt: expected one number from 0 to 7" in message
    assert message.endswith(f"found {text or 'nothing'}.")


def test_an_error_for_another_folder_than_ckplus_names_its_content(tmp_path: Path) -> None:
    (tmp_path / "cohn-kanade-images").mkdir()
    message = refusal(lambda: read_ckplus(tmp_path))
    assert message == (
        f"{tmp_path}: expected the folders cohn-kanade-images and Emotion, "
        "found cohn-kanade-images."
    )
    (tmp_path / "Emotion" / "labels").mkdir(parents=True)
    assert refusal(lambda: read_ckplus(tmp_path)).endswith("found nothing and labels.")
    assert "no such file or folder" in refusal(lambda: read_corpus("ckplus", tmp_path / "gone"))
