"""What the two contracts share: exemptions, and the naming of rules and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from torch import Tensor

from stkit.testing._drive import TOLERANCE, require_equal
from stkit.testing.rules import ContractViolation, Rule, obey


class Contract:
    """Base of the contracts: one method ``test_<rule>`` for each rule."""

    rules: ClassVar[Mapping[str, Rule]]
    exempt: ClassVar[Mapping[str, str]] = {}
    """Rules that are broken on purpose, each with the reason. An exemption that is not needed fails."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Turns the test of each exempt rule round: it passes where the rule is broken."""
        super().__init_subclass__(**options)
        for name, reason in cls.exempt.items():
            if name not in cls.rules:
                raise TypeError(f"{cls.__name__}.exempt names {name!r}; the rules are {', '.join(cls.rules)}")
            method = method_of(name)
            setattr(cls, method, _turned_round(getattr(cls, method), name, reason))

    @property
    def subject(self) -> str:
        """What the messages call the component."""
        raise NotImplementedError

    def violation(self, rule: str, found: str) -> ContractViolation:
        """To be raised where ``rule`` is broken."""
        return ContractViolation(self.rules[rule], self.subject, found)

    def require_equal(self, rule: str, what: str, a: Tensor, b: Tensor, tolerance: float = TOLERANCE) -> None:
        """Raises the violation of ``rule`` where two tensors differ."""
        require_equal(self.rules[rule], self.subject, what, a, b, tolerance)

    def obey(self, rule: str, doing: str) -> AbstractContextManager[None]:
        """An exception inside breaks ``rule``."""
        return obey(self.rules[rule], self.subject, doing)


def method_of(rule: str) -> str:
    """Name of the method that tests ``rule``."""
    return "test_" + rule.replace("-", "_")


def _turned_round(test: Callable[[Contract], None], rule: str, reason: str) -> Callable[[Contract], None]:
    if getattr(test, "turned_round", False):
        return test

    def exempt(self: Contract) -> None:
        try:
            test(self)
        except ContractViolation as violation:
            if violation.rule == rule:
                return
            raise
        raise AssertionError(f"{self.subject} meets the rule '{rule}': remove its exemption ({reason})")

    exempt.turned_round = True  # type: ignore[attr-defined]
    exempt.__doc__ = f"Exempt: {reason}"
    return exempt
