import tarfile
from pathlib import Path

import pytest
from planting import RAVDESS, read

from emoscope.corpora import read_corpus


def test_ravdess_reads_all_seven_fields(tmp_path: Path) -> None:
    manifest = read("ravdess", tmp_path, "Actor_01/01-02-06-02-01-02-01.mp4", RAVDESS)
    woman, man = sorted(manifest.samples, key=lambda sample: sample.path.suffix, reverse=True)
    assert (woman.label, woman.subject) == ("anger", "12")
    assert woman.groups == {
        "modality": "audio",
        "channel": "speech",
        "intensity": "normal",
        "statement": "dogs",
        "repetition": "1",
        "gender": "female",
    }
    assert (man.label, man.subject) == ("fear", "1")
    assert man.groups == {
        "modality": "audio-video",
        "channel": "song",
        "intensity": "strong",
        "statement": "kids",
        "repetition": "2",
        "gender": "male",
    }


def test_ravdess_codes_are_the_eight_labels_in_order(tmp_path: Path) -> None:
    names = [f"Actor_03/03-01-{code:02}-01-01-01-03.flac" for code in range(1, 9)]
    manifest = read("ravdess", tmp_path, *names)
    assert [sample.label for sample in manifest.samples] == [
        *("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
    ]


def test_ravdess_counts_unknown_codes_and_other_names(tmp_path: Path) -> None:
    odd = ["03-01-09-01-02-01-12.wav", "03-01-05-03-02-01-12.wav", "03-01-05-01-02-01-12 (1).wav"]
    manifest = read("ravdess", tmp_path, RAVDESS, *(f"Actor_12/{name}" for name in odd), "a.txt")
    assert len(manifest.samples) == 1
    assert manifest.left_out == {
        "unknown code '09' (emotion)": 1,
        "unknown code '03' (intensity)": 1,
        "name is not seven two-digit fields": 1,
        "not a recording": 1,
    }


@pytest.mark.data
def test_ravdess_speech_is_read_whole(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data" / "ravdess-speech-actors01-20.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    manifest = read_corpus("ravdess", tmp_path)
    assert len(manifest.samples) == 1200
    assert manifest.counts("subject") == {str(n): 60 for n in sorted(range(1, 21), key=str)}
    others = dict.fromkeys(set(manifest.labels) - {"neutral"}, 160)
    assert manifest.counts("label") == {"neutral": 80, **others}
    assert {sample.groups["modality"] for sample in manifest.samples} == {"audio"}
    twins = [{path.stem for path in group} for group in manifest.duplicates()]
    assert twins == [{"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"}]
