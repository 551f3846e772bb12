"""How a fault is marked, and what counts as catching it.

A test puts one fault in and hands what happened to `caught`, which notes who caught it:

    caught.refusal     our code refused, with an error of its own
    caught.finding     a numbered step of `privplan verify` failed
    caught.verdict     the report says no-claim by itself
    caught.check       a check of this test suite holds without the fault, fails with it
    caught.without_effect   the fault was put in and nothing followed from it

A test that passes without telling `caught` anything has caught nothing, and its fault
counts as survived.
"""

from collections.abc import Callable

import pytest

from privplan.errors import PrivplanError
from privplan.findings import Outcome, Verdict
from tests.faults.catalogue import FAULTS


def fault(code: str) -> pytest.MarkDecorator:
    """Mark the one test of a fault of the catalogue."""
    assert code in FAULTS, code
    return pytest.mark.fault(code)


class Caught:
    """Who caught a fault; the table reads `by`."""

    def __init__(self) -> None:
        self.by: list[str] = []

    def refusal(
        self,
        kind: type[PrivplanError],
        action: Callable[[], object],
        match: str | None = None,
    ) -> PrivplanError:
        """Require that our code refuses, with its own error and a way out."""
        with pytest.raises(kind, match=match) as raised:
            action()
        assert raised.value.message
        assert raised.value.hint
        self._note(f"refused, {type(raised.value).__name__}")
        return raised.value

    def finding(self, verdict: Verdict, *numbers: str) -> None:
        """Require that these steps of a verification failed."""
        failed = {
            f.number: f.name for f in verdict.findings if f.outcome is Outcome.FAILED
        }
        assert not verdict.passed
        assert set(numbers) <= set(failed), failed
        self._note(f"verify {numbers[0]} {failed[numbers[0]]}")

    def verdict(self, predicate, reason: str) -> None:
        """Require that a report makes no claim, for this reason."""
        assert predicate.verdict == "no-claim"
        assert any(reason in text for text in predicate.reasons), predicate.reasons
        self._note("report says no-claim")

    def check(
        self, check: Callable[[], object], put_in: Callable[[], object], name: str = ""
    ) -> None:
        """Require that a check holds, and fails once the fault is in."""
        assert self._holds(check), "the check fails without the fault"
        put_in()
        assert not self._holds(check), "the fault survives the check"
        words = name or getattr(check, "__name__", "check").strip("_")
        self._note(f"test, {words.replace('_', ' ')}")

    def without_effect(self, why: str) -> None:
        """Note that the fault cannot do what it does elsewhere; assert that before."""
        self._note(f"no effect, {why}")

    @staticmethod
    def _holds(check: Callable[[], object]) -> bool:
        try:
            return check() is not False
        except (AssertionError, pytest.fail.Exception):
            return False

    def _note(self, text: str) -> None:
        if text not in self.by:
            self.by.append(text)
