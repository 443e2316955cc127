"""Refuse docstrings that begin with "What" or "Of": say the thing itself.

python .ci/check_docstrings.py src benchmarks examples docs
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

REFUSED = ("What", "Of")


def refused(path: Path) -> Iterator[str]:
    """One line a docstring that begins with a refused word."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = (ast.get_docstring(node) or "").split(maxsplit=1)
            if words and words[0].strip("`*") in REFUSED:
                yield f"{path}:{getattr(node, 'lineno', 1)}: docstring begins with {words[0]!r}"


def main() -> None:
    """Print every refused docstring below the folders given; exit 1 if there is one."""
    files = sorted(path for folder in sys.argv[1:] for path in Path(folder).rglob("*.py"))
    lines = [line for path in files for line in refused(path)]
    print("\n".join(lines) or f"docstrings of {len(files)} files: fine")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
