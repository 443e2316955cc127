import dataclasses
import json
import math
import sys
from typing import Any

import numpy as np
import pytest

from emoscope.core.errors import MissingExtra, UnknownName
from emoscope.core.results import Box, Provenance, Timeline

LABELS = ("anger", "fear", "joy")
NAN = float("nan")


def make(*rows: tuple[float, float, int, tuple[float, ...]], **changed: Any) -> Timeline:
    """A Timeline of rows (start_s, end_s, track, probabilities); an empty tuple is a NaN row."""
    seen = np.array([bool(row[3]) for row in rows])
    columns: dict[str, Any] = {
        "spans_s": np.array([row[:2] for row in rows]),
        "track": np.array([row[2] for row in rows]),
        "boxes_xyxy": np.where(seen[:, None], [10.0, 20.0, 50.0, 70.0], NAN),
        "probs": np.array([row[3] or (NAN, NAN, NAN) for row in rows]),
        "modalities": np.where(seen, "face", ""),
        "labels": LABELS,
        "padded": np.zeros(len(rows), dtype=bool),
    }
    return Timeline(**(columns | changed))


A, B, C = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)


class TestBox:
    def test_width_height_area_and_center(self) -> None:
        box = Box(10, 20, 40, 60)
        assert (box.width, box.height, box.area, box.center) == (30, 40, 1200, (25, 40))

    def test_scaling_is_about_the_origin(self) -> None:
        assert Box(10, 20, 40, 60).scaled(0.5) == Box(5, 10, 20, 30)

    def test_iou_by_hand(self) -> None:
        assert Box(0, 0, 4, 2).iou(Box(2, 0, 6, 2)) == pytest.approx(4 / 12)
        assert Box(0, 0, 4, 2).iou(Box(0, 0, 4, 2)) == 1
        assert Box(0, 0, 4, 2).iou(Box(5, 0, 6, 2)) == 0
        assert Box(3, 3, 3, 3).iou(Box(3, 3, 3, 3)) == 0

    def test_an_inverted_box_has_no_area(self) -> None:
        assert Box(4, 4, 0, 8).area == 0


class TestChecks:
    @pytest.mark.parametrize("labels", [("fear", "fear", "joy"), ("", "fear", "joy")])
    def test_labels_differ_and_are_not_empty(self, labels: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match="must differ and not be empty"):
            make((0, 1, 0, A), labels=labels)

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("spans_s", np.zeros((2, 3))),
            ("track", np.zeros(3, dtype=int)),
            ("boxes_xyxy", np.zeros((2, 2))),
            ("probs", np.full((2, 2), 0.5)),
            ("modalities", np.array(["face"])),
            ("padded", np.zeros((2, 1), dtype=bool)),
        ],
    )
    def test_a_column_of_the_wrong_shape_is_named(self, column: str, value: Any) -> None:
        with pytest.raises(ValueError, match=rf"Timeline\.{column} must have shape"):
            make((0, 1, 0, A), (1, 2, 0, B), **{column: value})

    def test_a_span_that_ends_before_it_starts_is_refused(self) -> None:
        with pytest.raises(ValueError, match="must not end before they start"):
            make((0, 1, 0, A), (2, 1, 0, B))

    def test_a_span_without_times_is_refused(self) -> None:
        with pytest.raises(ValueError, match="must not end before they start"):
            make((NAN, NAN, 0, A))

    def test_rows_out_of_order_are_refused(self) -> None:
        with pytest.raises(ValueError, match="sorted by their start"):
            make((1, 2, 0, A), (0, 1, 0, B))

    def test_probabilities_that_do_not_sum_to_one_are_refused(self) -> None:
        with pytest.raises(ValueError, match="sum to 1"):
            make((0, 1, 0, (0.5, 0.5, 0.5)))

    def test_a_row_of_nan_is_a_row(self) -> None:
        timeline = make((0, 1, -1, ()), (1, 2, 4, B))
        assert len(timeline) == 2
        assert timeline.seen.tolist() == [False, True]
        assert timeline.leading == ("", "fear")
        assert timeline.tracks == (4,)

    def test_a_timeline_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            make((0, 1, 0, A)).labels = ()  # type: ignore[misc]

    def test_an_empty_timeline_supports_every_method(self) -> None:
        empty = Timeline.empty(LABELS)
        assert len(empty) == 0
        answers = (empty.tracks, empty.leading, empty.summary(), empty.segments(1.0))
        assert answers == ((), (), (), ())
        assert len(empty.smooth()) == 0
        assert empty.to_dict()["rows"] == []


class TestParts:
    def test_for_track_selects_the_rows_of_one_face(self) -> None:
        timeline = make((0, 1, 3, A), (0, 1, 5, B), (1, 2, 5, C))
        assert timeline.tracks == (3, 5)
        assert timeline.for_track(5).leading == ("fear", "joy")
        assert len(timeline.for_track(9)) == 0

    def test_concatenation_orders_rows_by_start_then_track(self) -> None:
        one = make((0, 1, 1, A), (1, 2, 1, B), provenance=Provenance(path="a.mp4"))
        two = make((0, 1, 0, C), (1, 2, 0, A))
        joined = Timeline.concatenate([one, two])
        assert joined.track.tolist() == [0, 1, 0, 1]
        assert joined.leading == ("joy", "anger", "anger", "fear")
        assert joined.spans_s.tolist() == [[0, 1], [0, 1], [1, 2], [1, 2]]
        assert joined.provenance.path == "a.mp4"

    def test_concatenation_needs_the_same_label_set(self) -> None:
        with pytest.raises(ValueError, match="same label set"):
            Timeline.concatenate([make((0, 1, 0, A)), Timeline.empty(("fear",))])
        with pytest.raises(ValueError, match="same label set"):
            Timeline.concatenate([])


class TestSummary:
    def test_means_and_shares_are_weighted_by_time(self) -> None:
        (one,) = make((0, 3, 7, A), (3, 4, 7, B)).summary()
        assert (one.track, one.start_s, one.end_s, one.seen_s) == (7, 0, 4, 4)
        assert one.leading == "anger"
        assert one.probabilities == pytest.approx({"anger": 0.625, "fear": 0.275, "joy": 0.1})
        assert one.shares == {"anger": 0.75, "fear": 0.25, "joy": 0.0}

    def test_a_faces_label_is_made_by_the_given_vote_or_the_provenances(self) -> None:
        """Two seconds of a narrow majority for anger, one second of certain fear."""
        narrow, sure = (0.5, 0.3, 0.2), (0.0, 1.0, 0.0)
        timeline = make((0, 2, 7, narrow), (2, 3, 7, sure))
        by_majority = dataclasses.replace(timeline, provenance=Provenance(vote="max-probability"))
        for made in (timeline, by_majority):
            (added,) = made.summary("sum-probability")
            assert added.leading == "fear"
            assert added.probabilities["fear"] == pytest.approx(1.6 / 3)
            (counted,) = made.summary("max-probability")
            assert counted.leading == "anger"
            assert counted.probabilities == pytest.approx(counted.shares)
        assert timeline.summary() == timeline.summary("sum-probability")
        assert by_majority.summary() == timeline.summary("max-probability")
        with pytest.raises(UnknownName, match="Did you mean 'max-probability'"):
            timeline.summary("max-prob")

    def test_time_without_the_face_does_not_count(self) -> None:
        (one,) = make((0, 1, 7, A), (1, 9, -1, ()), (9, 10, 7, A)).summary()
        assert (one.start_s, one.end_s, one.seen_s) == (0, 10, 2)
        assert one.probabilities["anger"] == pytest.approx(0.8)

    def test_each_face_with_probabilities_has_one_entry(self) -> None:
        timeline = make((0, 1, 2, A), (0, 1, 6, ()), (0, 1, 9, B))
        assert [one.track for one in timeline.summary()] == [2, 9]

    def test_rows_of_no_length_do_not_divide_by_zero(self) -> None:
        (one,) = make((1, 1, 0, B)).summary()
        assert one.probabilities["fear"] == pytest.approx(0.8)


class TestDict:
    def test_the_dict_is_json_without_nan(self) -> None:
        timeline = make(
            (0, 0.5, 2, B),
            (0.5, 1, -1, ()),
            provenance=Provenance(path="a.mp4", fps=math.inf, notes=("cut",)),
        )
        document = json.loads(json.dumps(timeline.to_dict(), allow_nan=False))
        assert document["labels"] == list(LABELS)
        assert document["provenance"]["path"] == "a.mp4"
        assert document["provenance"]["notes"] == ["cut"]
        assert document["provenance"]["vote"] == "sum-probability"
        assert document["provenance"]["duration_s"] is None
        assert document["provenance"]["fps"] is None
        assert document["rows"] == [
            {
                "start_s": 0.0,
                "end_s": 0.5,
                "track": 2,
                "box_xyxy": [10.0, 20.0, 50.0, 70.0],
                "leading": "fear",
                "probabilities": {"anger": 0.1, "fear": 0.8, "joy": 0.1},
                "modalities": "face",
                "padded": False,
            },
            {
                "start_s": 0.5,
                "end_s": 1.0,
                "track": None,
                "box_xyxy": None,
                "leading": None,
                "probabilities": None,
                "modalities": "",
                "padded": False,
            },
        ]

    def test_a_box_that_was_not_measured_is_null(self) -> None:
        timeline = make((0, 1, 0, A), boxes_xyxy=np.full((1, 4), NAN))
        document = json.loads(json.dumps(timeline.to_dict(), allow_nan=False))
        assert document["rows"][0]["box_xyxy"] == [None] * 4


class TestText:
    def test_a_timeline_prints_file_model_and_people(self) -> None:
        source = Provenance(
            path="clips/talk.mp4", model="face-made", model_version="3", duration_s=10.0
        )
        timeline = make((0, 3, 1, A), (0, 4, 2, B), (3, 4, 1, C), provenance=source)
        assert str(timeline).splitlines() == [
            "talk.mp4: 10.0 s, 3 rows, 2 people",
            "model: face-made 3",
            "person 1 (4.0 s): anger 63%, joy 28%, fear 10%",
            "person 2 (4.0 s): fear 80%, anger 10%, joy 10%",
        ]
        assert repr(timeline) == (
            "Timeline(path='clips/talk.mp4', model='face-made', rows=3, tracks=2)"
        )

    @pytest.mark.parametrize("people", [0, 1, 3, 4, 50])
    def test_it_prints_at_most_five_lines_and_counts_the_other_people(self, people: int) -> None:
        rows = [(0.0, 1.0 + i, i, A) for i in range(people)]
        timeline = make(*rows, provenance=Provenance(model="m")) if rows else Timeline.empty(LABELS)
        lines = str(timeline).splitlines()
        assert len(lines) <= 5
        if people > 3:
            assert lines[2].startswith(f"person {people - 1} ({people}.0 s)")  # seen longest
            assert lines[-1] == f"... and {people - 2} more people"

    def test_a_person_without_a_label_is_unsure(self) -> None:
        timeline = make((0, 3, 0, A), (3, 4, 0, B), provenance=Provenance(min_confidence=0.9))
        assert "person 0 (4.0 s): unsure: anger 63%, " in str(timeline)

    def test_a_file_name_that_is_not_text_can_be_printed(self) -> None:
        timeline = make((0, 1, 0, A), provenance=Provenance(path="caf\udce9.mp4"))
        assert str(timeline).encode("utf-8").startswith(rb"caf\udce9.mp4: 1.0 s, 1 row,")

    def test_the_duration_is_the_recordings_or_the_end_of_the_last_row(self) -> None:
        assert make((0, 2, 0, A), (0.5, 1, 1, B)).duration_s == 2
        assert make((0, 2, 0, A), provenance=Provenance(duration_s=5.0)).duration_s == 5
        assert Timeline.empty(LABELS).duration_s == 0


class TestTable:
    def test_columns_by_hand(self) -> None:
        timeline = make((0, 0.5, 2, B), (0.5, 1, -1, ()), provenance=Provenance("a.mp4", "m"))
        columns = timeline.to_columns()
        assert list(columns) == [
            *("start_s", "end_s", "track"),
            *("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"),
            *LABELS,
            *("leading", "modalities", "padded", "input", "model"),
        ]
        assert columns["track"] == [2, None]
        assert columns["FaceRectWidth"][0] == 40
        assert columns["fear"][0] == 0.8
        assert np.isnan(columns["fear"][1])
        assert columns["leading"] == ["fear", None]
        assert columns["input"] == ["a.mp4", "a.mp4"]
        assert columns["model"] == ["m", "m"]

    def test_labels_do_not_replace_other_columns(self) -> None:
        """Kind: labels called `track` or `start_s`."""
        labels = ("track", "start_s", "leading")
        columns = make((0.25, 0.5, 2, B), labels=labels).to_columns()
        assert (columns["track"], columns["start_s"].tolist()) == ([2], [0.25])
        assert columns["leading"] == ["start_s"]
        assert [columns[f"p_{label}"][0] for label in labels] == list(B)
        assert len(columns) == 15

    def test_pandas_gets_the_columns_with_their_types(self) -> None:
        pytest.importorskip("pandas")
        timeline = make((0, 0.5, 2, B), (0.5, 1, -1, ()))
        table = timeline.to_pandas()
        assert list(table.columns) == list(timeline.to_columns())
        assert table["track"].dtype == "Int64"
        assert table["track"].isna().tolist() == [False, True]
        assert table.groupby("leading")["end_s"].max().to_dict() == {"fear": 0.5}
        assert table["leading"].isna().tolist() == [False, True]
        assert table["modalities"].isna().tolist() == [False, True]

    def test_without_pandas_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(MissingExtra, match=r"emoscope\[pandas\]"):
            make((0, 1, 0, A)).to_pandas()
