"""Run benchmarks and put what they print into docs/benchmarks.md: no figure there is typed.

python benchmarks/all.py [NAME...]        all of them, or those named; other sections stay
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
NAMES = (
    "ablation",
    "analyze",
    "clip_votes",
    "convlstm",
    "convlstm_layers",
    "crops",
    "decode",
    "deformable",
    "egemaps",
    "eight_bits",
    "faces",
    "flicker",
    "footprint",
    "four_stream",
    "fusion",
    "gradients",
    "inflation",
    "jitter",
    "joint",
    "loading",
    "memory",
    "models",
    "peers",
    "synthetic",
    "system",
    "tilt",
    "voice",
)
HEAD = """# Benchmarks

Written by `make bench`. These are shared, noisy machines: trust ratios and medians, not single
times. Films are synthetic (a portrait that moves, made by `benchmarks/measuring.py`) unless a row
names a clip.
"""


def section(name: str) -> str:
    """A heading, the first line of the script's docstring, the command, what it prints."""
    script = HERE / f"{name}.py"
    title = (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").split("\n")[0]
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks/{name}.py failed; docs/benchmarks.md is as it was.")
    return f"{title}\n\n    python benchmarks/{name}.py\n\n{done.stdout.strip()}\n"


def main(wanted: list[str]) -> None:
    """Replace the wanted sections of the page."""
    written = {name: section(name) for name in wanted}
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""  # others may have written it
    parts = re.split(r"^## (\w+)\n\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    sections.update(written)
    body = [f"## {name}\n\n{sections[name].strip()}\n" for name in NAMES if name in sections]
    PAGE.write_text("\n".join([HEAD, *body]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or list(NAMES))
