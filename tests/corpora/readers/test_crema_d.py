from pathlib import Path

from planting import CREMA, read

from emoscope.core.labels import LABEL_SETS


def test_crema_reads_its_four_fields_and_both_modalities(tmp_path: Path) -> None:
    codes = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    films = [f"VideoFlash/1001_DFA_{code}_XX.flv" for code in codes]
    manifest = read("crema-d", tmp_path, *films, "AudioWAV/1002_ITS_SAD_HI.wav")
    sound, *films_read = manifest.samples
    assert [s.label for s in films_read] == [
        *("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    ]
    assert {s.subject for s in films_read} == {"1001"}
    assert (sound.label, sound.subject) == ("sadness", "1002")
    assert sound.groups == {"modality": "audio", "sentence": "ITS", "level": "high"}
    assert films_read[0].groups == {
        "modality": "audio-video",
        "sentence": "DFA",
        "level": "unspecified",
    }
    assert manifest.labels == LABEL_SETS["crema6"].labels


def test_crema_counts_what_it_leaves_out(tmp_path: Path) -> None:
    odd = ["AudioMP3/1001_DFA_ANG_XX.mp3", "VideoFlash/1001_DFA_BOR_XX.flv", "VideoFlash/a.flv"]
    short = "AudioWAV/1040_ITH_SAD_X.wav"  # as the release has it
    manifest = read("crema-d", tmp_path, CREMA, short, *odd, "README.md")
    assert manifest.counts("subject") == {"1001": 1, "1040": 1}
    assert manifest.left_out == {
        "MP3 copy of AudioWAV": 1,
        "unknown code 'BOR' (emotion)": 1,
        "name is not subject_sentence_emotion_level": 1,
        "not a recording": 1,
    }
