"""Well-formed inputs pass, and a bounded number of damaged ones: `make fuzz` tries more."""

from pathlib import Path

import pytest

from emoscope.core.errors import EmoscopeError
from fuzz.harness import Mutant, Target, run_cases
from fuzz.targets import TARGETS


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    target = TARGETS[request.param](tmp_path / "home")
    target.prepare()
    return target


def test_undamaged_inputs_pass(target: Target) -> None:
    for source in target.sources:
        results = {}
        for name, call in target.calls(source).items():
            try:
                results[name] = call()
            except EmoscopeError as error:
                results[name] = error
        assert not all(isinstance(result, EmoscopeError) for result in results.values()), source
        assert list(target.complaints(Mutant(source, source, "none"), results)) == []


def test_damaged_inputs_are_read_or_refused_in_one_line(target: Target, tmp_path: Path) -> None:
    failures = [
        str(failure)
        for of_case in run_cases(target, range(target.cases_in_ci), tmp_path / "worker")
        for failure in of_case
        if failure.kind not in target.expected
    ]
    assert failures == [], "\n".join(failures)
