"""The report page's template, style and script, read from `templates/`."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

__all__ = ["SCRIPT", "STYLE", "template"]

_TEMPLATES = files("emoscope.reports") / "templates"
STYLE = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
SCRIPT = (_TEMPLATES / "report.js").read_text(encoding="utf-8")


def template(filters: Mapping[str, Callable[..., Any]]) -> "jinja2.Template":
    """Compile the page's template, which escapes every value and can use `filters`."""
    import jinja2  # slow to import

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.from_string((_TEMPLATES / "report.html.j2").read_text(encoding="utf-8"))
