from collections.abc import Callable

import pytest

from emoscope.core.errors import EmoscopeError, UnknownName
from emoscope.core.registry import Registry


@pytest.fixture
def tools() -> Registry[int]:
    registry: Registry[int] = Registry("tool")
    registry.add("hammer", 1)
    registry.add("axe", 2)
    return registry


def test_names_keep_the_order_of_their_registration(tools: Registry[int]) -> None:
    assert list(tools) == ["hammer", "axe"]
    assert (tools["hammer"], tools["axe"], len(tools)) == (1, 2, 2)
    assert "axe" in tools
    assert "saw" not in tools


def test_a_near_miss_is_suggested(tools: Registry[int]) -> None:
    with pytest.raises(UnknownName) as raised:
        tools["hamer"]
    assert str(raised.value) == "No tool named 'hamer'. Did you mean 'hammer'?"


def test_without_a_near_miss_all_names_are_told(tools: Registry[int]) -> None:
    with pytest.raises(UnknownName) as raised:
        tools["zzz"]
    assert str(raised.value) == "No tool named 'zzz'. Known: hammer, axe."


def test_an_unknown_name_is_caught_as_our_error_and_as_a_key_error(tools: Registry[int]) -> None:
    for kind in (EmoscopeError, KeyError):
        with pytest.raises(kind):
            tools["saw"]


def test_a_name_is_given_once(tools: Registry[int]) -> None:
    with pytest.raises(ValueError, match="'axe' is registered already"):
        tools.add("axe", 3)
    assert tools["axe"] == 2


def test_the_decorator_registers_and_returns_its_function() -> None:
    rules: Registry[Callable[[], str]] = Registry("rule")

    @rules.register("mean")
    def mean() -> str:
        return "a mean"

    assert rules["mean"] is mean
    assert mean() == "a mean"
