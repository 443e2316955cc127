"""Write a Timeline to files: JSON, tables, a page, an annotated video. Uses core and media only."""

from emoscope.reports.formats import FORMATS, ReportFormat, write_report

__all__ = ["FORMATS", "ReportFormat", "write_report"]
