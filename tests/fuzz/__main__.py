"""Run the targets for a while, or one case: `make fuzz MINUTES=60 SUMMARY=fuzz.txt`."""

import argparse
import itertools
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.harness import Failure, Target, Worker
from fuzz.targets import TARGETS


class Campaign:
    """Cases of one target, run in several processes until the time is over."""

    def __init__(self, target: Target, first: int, kept: Path) -> None:
        self.target, self.first, self.kept = target, first, kept
        self.tries = 0
        self.failures: dict[tuple[str, str, str], list[Failure]] = {}
        self._numbers = itertools.count(first)
        self._lock = threading.Lock()

    def run(self, minutes: float, jobs: int) -> None:
        stop_at = time.monotonic() + 60 * minutes
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda job: self._work(job, stop_at), range(jobs)))

    def _work(self, job: int, stop_at: float) -> None:
        worker = Worker(self.target, self.target.home / f"worker-{job}")
        try:
            while time.monotonic() < stop_at:
                failures = worker.run(next(self._numbers))
                with self._lock:
                    self.tries += 1
                    for failure in failures:
                        self._note(failure, worker.mutant_folder)
        finally:
            worker.close()

    def _note(self, failure: Failure, mutant: Path) -> None:
        """Print and keep the first of its kind."""
        alike = self.failures.setdefault(failure.signature, [])
        alike.append(failure)
        if len(alike) == 1 and failure.kind not in self.target.expected:
            print(failure, flush=True)
        if len(alike) == 1 and mutant.exists():
            shutil.copytree(
                mutant,
                self.kept / f"{failure.case.target}-{failure.case.number}",
                dirs_exist_ok=True,
            )

    @property
    def failed(self) -> bool:
        return any(kind not in self.target.expected for kind, *_ in self.failures)

    def summary(self) -> str:
        kinds = Counter[str]()
        for (kind, *_), alike in self.failures.items():
            kinds[kind] += len(alike)
        lines = [f"{self.target.name}: {self.tries} cases from {self.first}"]
        for kind, count in kinds.most_common():
            expected = " (expected)" if kind in self.target.expected else ""
            lines.append(f"  {kind}: {count}{expected}")
        if not kinds:
            lines.append("  no failures")
        for alike in sorted(self.failures.values(), key=len, reverse=True):
            lines += ["", f"{len(alike)} times: {alike[0]}"]
        return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, over all targets")
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--first", type=int, help="the first case; a random one by default")
    parser.add_argument("--summary", type=Path, default=Path("fuzz.txt"), help="file to write")
    parser.add_argument("--case", help="repeat one case, such as media:17, and keep its input")
    options = parser.parse_args()
    kept = options.summary.with_suffix(".inputs")
    names = options.target or list(TARGETS)
    first = secrets.randbelow(1 << 32) if options.first is None else options.first
    failed, summaries = False, []
    with tempfile.TemporaryDirectory(prefix="emoscope-fuzz-") as folder:
        if options.case:
            name, _, number = options.case.partition(":")
            target = _prepared(name, Path(folder))
            worker = Worker(target, target.home / "worker")
            failures = worker.run(int(number))
            worker.close()
            shutil.copytree(worker.mutant_folder, kept / f"{name}-{number}", dirs_exist_ok=True)
            print(*failures, f"The input is in {kept / f'{name}-{number}'}.", sep="\n")
            return bool(failures)
        for name in names:
            campaign = Campaign(_prepared(name, Path(folder)), first, kept)
            campaign.run(options.minutes / len(names), options.jobs)
            summaries.append(campaign.summary())
            failed |= campaign.failed
    options.summary.write_text("\n".join(summaries), encoding="utf-8")
    print(*summaries, sep="\n")
    return failed


def _prepared(name: str, folder: Path) -> Target:
    target = TARGETS[name](folder / name)
    target.prepare()
    return target


if __name__ == "__main__":
    sys.exit(main())
