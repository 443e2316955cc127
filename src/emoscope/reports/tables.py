"""A Timeline as a CSV or Parquet table, with the columns of `Timeline.to_pandas`."""

import csv
import json
from pathlib import Path
from typing import Any

from emoscope.core.errors import MissingExtra
from emoscope.core.results import Timeline
from emoscope.core.table import TEXTS, probability_columns
from emoscope.reports.formats import FORMAT_VERSION, FORMATS, ReportFormat, Source

__all__ = ["write_csv", "write_parquet"]


def write_csv(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """One row per face and span, with py-feat's column names; empty cells where no face was seen.

    Seconds and pixels have four decimals, probabilities six.
    """
    columns, probabilities = timeline.to_columns(), probability_columns(timeline.labels)
    cells = [[_cell(value, name in probabilities) for value in columns[name]] for name in columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def _cell(value: Any, is_probability: bool) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}" if is_probability else f"{value:.4f}"
    return str(value)


def write_parquet(timeline: Timeline, path: Path, video: Path | None = None) -> None:
    """The typed table of `Timeline.to_pandas`; the metadata key `emoscope` holds the provenance."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("A Parquet report", "pandas") from None
    about = {"format_version": FORMAT_VERSION} | timeline.to_dict()
    del about["rows"]
    frame = timeline.to_pandas()
    schema = pa.Schema.from_pandas(frame, preserve_index=False)
    for name in TEXTS:  # a column of missing texts only would have no type
        field = schema.get_field_index(name)
        schema = schema.set(field, pa.field(name, pa.large_string()))
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    metadata = {**table.schema.metadata, b"emoscope": json.dumps(about, allow_nan=False).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def csv_source(path: Path) -> Source:
    """Recording and model of a CSV report."""
    with path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    return {"path": row["input"], "model": row["model"]}


def parquet_source(path: Path) -> Source:
    """Recording and model of a Parquet report."""
    import pyarrow.parquet as pq

    source: Source = json.loads(pq.read_schema(path).metadata[b"emoscope"])["provenance"]
    return source


FORMATS.add("csv", ReportFormat(".csv", write_csv, csv_source))
FORMATS.add("parquet", ReportFormat(".parquet", write_parquet, parquet_source))
