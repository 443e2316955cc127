"""The tools that benchmarks/peers.py compares: how each is installed, started and asked."""

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from measuring import CACHE

LOG = CACHE / "peers-worker.log"
FER = "fer==25.10.3"
SETUPTOOLS = "setuptools==80.9.0"  # still has pkg_resources, which fer imports
NEEDED = (
    SETUPTOOLS,
    "tensorflow-cpu==2.21.0",
    "opencv-python-headless==4.11.0.86",
    "numpy==1.26.4",
    "pandas==2.2.3",
    "pillow==10.2.0",
    "requests==2.32.3",
    "tqdm==4.67.1",
    "moviepy==1.0.3",
    "ffmpeg-python==0.2.0",
    "matplotlib==3.9.2",
)


@dataclass(frozen=True)
class Tool:
    """A column: what it is called, and how it is started."""

    name: str
    python: str
    kind: str
    options: dict[str, Any]
    processors: int | None = None  # all

    def having(self, **options: Any) -> Self:
        return replace(self, options=self.options | options)


class Worker:
    """A tool in a fresh process, one job at a time; it ends with the `with`."""

    def __init__(self, tool: Tool) -> None:
        wanted = {"tool": tool.kind, "options": tool.options, "processors": tool.processors}
        script = Path(__file__).with_name("peers_worker.py")
        with LOG.open("a") as log:
            self.process = subprocess.Popen(
                [tool.python, str(script), json.dumps(wanted)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        self.ready = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def __call__(self, **job: Any) -> Any:
        assert self.process.stdin
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A worker of benchmarks/peers.py ended; {LOG} tells why.")
        return json.loads(line)


def environment(folder: Path, *installs: Sequence[str]) -> str:
    """Python of an environment in which each of these was installed, in this order."""
    python, pins = folder / "bin" / "python", json.dumps(installs)
    ready = folder / "ready"
    if not ready.is_file() or ready.read_text() != pins:
        venv.create(folder, clear=True, symlinks=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-compile"]
        for wanted in installs:
            subprocess.run([*pip, "--quiet", *wanted], check=True, stdout=sys.stderr)
        ready.write_text(pins)
    return str(python)


def site_mb(python: str) -> float:
    """Megabytes of an environment's packages, without bytecode."""
    site = next(Path(python).parents[1].glob("lib/python*/site-packages"))
    files = (f for f in site.rglob("*") if f.is_file() and f.suffix != ".pyc")
    return sum(f.stat().st_size for f in files) / 1e6


def resolved_mb() -> float:
    """The same of `pip install fer`, with all that it asks for."""
    with tempfile.TemporaryDirectory() as folder:
        return site_mb(environment(Path(folder) / "fer", (FER, SETUPTOOLS)))
