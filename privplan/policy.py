"""The policy of an organisation: what no plan may exceed, and what every run must have.

    # policy.toml
    format = "privplan-policy/1"
    max_epsilon = 8.0                      # no plan asks for more
    max_delta_factor = 0.5                 # delta <= 0.5 / n
    min_records = 1000                     # n at least
    adjacency = ["add-or-remove-one"]      # no other promise
    require_approval = true                # an officer signed the plan
    require_register = true                # a register pays for the run
    trust = "trust.json"                   # who is an officer, beside this file
    officers = ["officer.pub"]             # or the keys themselves

Whatever is left out is not asked for. A policy binds whoever uses it: nothing here
stops someone from training without one; an officer sees what was kept in the report.

Edges: reads the policy file and the keys it names.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, Context
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from privplan import keys, moments, trust_file
from privplan.approval import check
from privplan.budget import Adjacency
from privplan.errors import DocumentError, PolicyError
from privplan.fields import Count, Document, Name
from privplan.plan import Plan
from privplan.trust import Trust

_Neighbour = Annotated[Adjacency, Field(strict=False)]
_MAX_BYTES = 64 * 1024
_DOWN = Context(prec=3, rounding=ROUND_FLOOR)


class Rules(Document):
    """The fields of a policy file. See the module docstring."""

    format: Literal["privplan-policy/1"]
    max_epsilon: float | None = Field(default=None, gt=0)
    max_delta_factor: float | None = Field(default=None, gt=0, le=1)
    min_records: Count | None = None
    adjacency: tuple[_Neighbour, ...] | None = Field(default=None, strict=False)
    require_approval: bool = False
    require_register: bool = False
    trust: Name | None = None
    officers: tuple[Name, ...] = Field(default=(), strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy file that was read.

    Attributes:
        rules: What it says.
        folder: Where it lies; the files it names are beside it.
    """

    rules: Rules
    folder: Path

    def authority(self) -> Trust | None:
        """Read who is an officer; None if the policy does not say.

        Raises:
            DocumentError: A file it names cannot be read.
            IntegrityError: The trust file is broken.
        """
        if self.rules.trust is not None:
            return trust_file.read(self.folder / self.rules.trust)
        if self.rules.officers:
            paths = [self.folder / name for name in self.rules.officers]
            return Trust.of([keys.load_public(path) for path in paths])
        return None


def read(path: Path) -> Policy:
    """Read a policy file strictly.

    Raises:
        DocumentError: It cannot be read, or says something no policy says.
    """
    try:
        text = path.read_bytes()
        if len(text) > _MAX_BYTES:
            raise _unread(path, f"it has more than {_MAX_BYTES:,} bytes")
        raw = tomllib.loads(text.decode("utf-8"))
        return Policy(rules=Rules.model_validate(raw), folder=path.parent)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80] or "the document"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, Rules.model_fields, n=1)
            meant = f"; do you mean {near[0]}?" if near else ""
            raise _unread(path, f"'{where}' is no rule{meant}") from error
        raise _unread(path, f"{where}: {first['msg'][:120]}") from error
    except OSError as error:
        raise _unread(path, error.strerror or "the file system refuses") from error
    except ValueError as error:  # TOML and UTF-8 errors are ValueErrors
        raise _unread(path, " ".join(str(error).split())[:120]) from error


def check_plan(policy: Policy, plan: Plan) -> None:
    """Require a plan that keeps the rules about plans.

    Raises:
        PolicyError: It breaks one; the message names it.
    """
    rules, budget, records = policy.rules, plan.budget, plan.data.records
    if rules.max_epsilon is not None and not budget.target_epsilon <= rules.max_epsilon:
        raise PolicyError(
            f"the plan asks for epsilon {budget.target_epsilon:g}, and the policy "
            f"allows {rules.max_epsilon:g}",
            hint=f"plan again with --eps {rules.max_epsilon:g} or less",
        )
    factor = rules.max_delta_factor
    if factor is not None and not budget.target_delta * records <= factor:
        raise PolicyError(
            f"the plan asks for delta {budget.target_delta:g}, and the policy allows "
            f"{factor:g} / n = {factor / records:.3g}",
            hint=f"plan again with --delta {_DOWN.create_decimal(factor / records)} "
            "or less",
        )
    if rules.min_records is not None and not records >= rules.min_records:
        raise PolicyError(
            f"the plan declares n = {records:,}, and the policy asks for "
            f"{rules.min_records:,} records at least",
            hint="gather more records, or ask an officer to change the policy",
        )
    if rules.adjacency is not None and budget.adjacency not in rules.adjacency:
        raise PolicyError(
            f"the plan promises under '{budget.adjacency}', and the policy allows "
            f"{', '.join(rules.adjacency)}",
            hint="plan again under a neighbouring relation the policy allows",
        )


def check_run(
    policy: Policy,
    plan: Plan,
    *,
    approval: bytes | None,
    registered: bool,
    trust: Trust | None = None,
    now: datetime | None = None,
) -> None:
    """Require everything a policy asks of a run that is about to begin.

    Args:
        policy: The policy.
        plan: What is about to run.
        approval: The envelope of its approval, if one was found.
        registered: Whether a register pays for it.
        trust: Who is an officer; None takes whom the policy names.
        now: When the run began; None means now.

    Raises:
        PolicyError: A rule is broken; the message names it.
        DocumentError: A file the policy names cannot be read.
        IntegrityError: The trust file is broken.
    """
    check_plan(policy, plan)
    if policy.rules.require_register and not registered:
        raise PolicyError(
            "the policy requires a register, and none was given",
            hint="add --register with the register of the data set",
        )
    if not policy.rules.require_approval:
        return
    if approval is None:
        raise PolicyError(
            "the policy requires an approval, and this plan has none beside it",
            hint="ask an officer: privplan approve plan.json --key officer.key",
        )
    known = trust or policy.authority()
    if known is None:
        raise PolicyError(
            "the policy requires an approval, but says nowhere who is an officer",
            hint="name trust or officers in the policy, or add --trust",
        )
    check(approval, plan, known, now=now or moments.now())


def _unread(path: Path, problem: str) -> DocumentError:
    return DocumentError(
        f"{path} is not a policy: {problem}",
        hint='give a TOML file with format = "privplan-policy/1" and its rules',
    )
