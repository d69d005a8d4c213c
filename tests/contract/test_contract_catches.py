"""The contract can fail: each faulty cell here is one that exists in the field, and a named rule catches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from hypothesis import settings

from stkit.testing.contract import CellContract, ContractViolation

from .faulty import compiled, declared, gradients, grid, precision_and_device, state
from .faulty.declared import IgnoredConfig, TakesAnOptionAndIgnoresIt
from .faulty.gradients import HasADeadParameter
from .faulty.plain import Plain, PlainConfig

torch.set_num_threads(1)

KINDS = (state, grid, gradients, precision_and_device, compiled, declared)
FAULTS = [fault for kind in KINDS for fault in kind.FAULTS]


class TestASoundCell(CellContract):
    """Every rule passes on the cell from which the faulty ones differ."""

    config = PlainConfig()
    target = Plain


@pytest.mark.parametrize(("fault", "rule"), FAULTS, ids=[f"{fault.__name__}-{rule}" for fault, rule in FAULTS])
def test_a_fault_is_caught_by_its_rule(fault: type[Plain], rule: str) -> None:
    class Contract(CellContract):
        config = IgnoredConfig() if rule == "options-act" else PlainConfig()
        target = fault

    with pytest.raises(ContractViolation) as caught:
        getattr(Contract(), "test_" + rule.replace("-", "_"))()
    assert caught.value.rule == rule
    message = str(caught.value)
    assert f"cell 'plain' breaks the rule '{rule}'" in message
    assert "found: " in message
    assert "what to do: " in message


def test_an_ignored_option_is_named_alone() -> None:
    class Contract(CellContract):
        config = IgnoredConfig()
        target = TakesAnOptionAndIgnoresIt

    with pytest.raises(ContractViolation, match="changes anything: kernel\n"):
        Contract().test_options_act()


def test_every_rule_catches_something() -> None:
    checked_elsewhere = {"light-config"}  # needs an installed plugin: tests/plugin_package
    assert {rule for _, rule in FAULTS} == set(CellContract.rules) - checked_elsewhere


def test_every_rule_has_a_test_and_every_test_a_rule() -> None:
    tests = {name.removeprefix("test_").replace("_", "-") for name in dir(CellContract) if name.startswith("test_")}
    assert tests == set(CellContract.rules)


def test_an_exemption_turns_a_rule_round() -> None:
    class Exempt(CellContract):
        config = PlainConfig()
        target = HasADeadParameter
        exempt: ClassVar[Mapping[str, str]] = {"gradients": "as released"}

    Exempt().test_gradients()


def test_an_exemption_that_is_not_needed_fails() -> None:
    class Exempt(CellContract):
        config = PlainConfig()
        target = Plain
        exempt: ClassVar[Mapping[str, str]] = {"gradients": "as released"}

    with pytest.raises(AssertionError, match="remove its exemption"):
        Exempt().test_gradients()


def test_an_exemption_from_no_rule_is_an_error() -> None:
    with pytest.raises(TypeError, match="the rules are shapes, pure"):
        type("Typo", (CellContract,), {"exempt": {"gradient": "a typo"}})


def test_a_contract_without_a_name_says_what_to_write() -> None:
    with pytest.raises(TypeError, match='name = "my_cell"'):
        type("Nameless", (CellContract,), {})().test_out_key()


def test_examples_are_the_same_on_every_run_in_ci() -> None:
    from stkit.testing.strategies import CONTRACT_SETTINGS

    assert isinstance(CONTRACT_SETTINGS, settings)
    assert CONTRACT_SETTINGS.deadline is None
