"""Every deliberate error of privplan, in one tree.

A program that refuses must say who refused, which value, what would be allowed and
what to do next. So each error here carries a `hint`, which is required, and the exit
code with which the command line ends.

    PrivplanError                    1  something outside is not as it is needed
    ├── ParameterError               2  a number or word asked for is not allowed
    ├── BudgetExceededError          3  a step, run or plan would cost more than allowed
    │   └── InfeasibleBudgetError    3  no value of the unknown stays in the budget
    ├── CannotCertifyError           1  the fast accountant declines; others answer
    ├── DocumentError                1  a plan, report or key file cannot be read
    ├── DataError                    1  images or labels cannot be read as declared
    ├── LedgerError                  1  the ledger cannot be opened, read or written
    ├── StepFailedError              1  a private step failed; why is withheld
    ├── PeerLostError                1  another process of the same run is gone
    ├── IntegrityError               4  a signature, digest or hash chain does not match
    └── PolicyError                  5  a rule of the plan, run or organisation refuses

No message may carry a value computed from private data: a record count, a label, a
loss or a path inside a private folder is private too.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command line returns to the shell."""

    OK = 0
    ERROR = 1
    USAGE = 2
    BUDGET = 3
    VERIFICATION = 4
    POLICY = 5


class PrivplanError(Exception):
    """Base of every deliberate error.

    Attributes:
        message: What was wrong with which value, on one line.
        hint: What to do about it, on one line.
        exit_code: What the command line returns for it.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR

    def __init__(self, message: str, *, hint: str) -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}. To fix: {hint}")


class ParameterError(PrivplanError):
    """A parameter has a value that is not allowed."""

    exit_code = ExitCode.USAGE


class BudgetExceededError(PrivplanError):
    """Something would spend more privacy than is left.

    Attributes:
        stage: Who would spend it.
        needed: What it would bring the total to, in the unit named by the message.
        target: What is allowed, in the same unit.
    """

    exit_code = ExitCode.BUDGET

    def __init__(
        self, message: str, *, stage: str, needed: float, target: float, hint: str
    ) -> None:
        self.stage, self.needed, self.target = stage, needed, target
        super().__init__(message, hint=hint)


class InfeasibleBudgetError(BudgetExceededError):
    """No value of the unknown keeps the plan inside its budget."""


class CannotCertifyError(PrivplanError):
    """The fast accountant cannot bound its own error for this event."""


class DocumentError(PrivplanError):
    """A document cannot be read: not JSON, an unknown field, a wrong type."""


class DataError(PrivplanError):
    """Images or labels cannot be read, or are not what was declared."""


class LedgerError(PrivplanError):
    """The ledger cannot be opened, read or written."""


class StepFailedError(PrivplanError):
    """A private step failed for a reason that may depend on the records."""


class PeerLostError(PrivplanError):
    """Another process of the same run ended, failed or fell silent."""


class IntegrityError(PrivplanError):
    """A signature, digest or hash chain does not match its content."""

    exit_code = ExitCode.VERIFICATION


class PolicyError(PrivplanError):
    """A rule of the plan, the run or the organisation refuses."""

    exit_code = ExitCode.POLICY
