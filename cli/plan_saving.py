"""Saving a plan where another may be: nothing that somebody relies on is replaced.

there            what happens
nothing          the plan is written
the same plan    it stays; planning twice is planning once
another plan     replaced, and said so
  approved, run  refused; --force replaces it
another file,    refused; --force replaces it
  a changed plan
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from cli import folders
from cli.paper import talk
from cli.plan_inputs import Room
from privplan import approval
from privplan import plan as plans
from privplan.errors import ParameterError, PolicyError, PrivplanError
from privplan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What became of a plan.

    Attributes:
        path: Where it is.
        room: What a register has left for it, if one was named.
        replaced: Which plan it replaced, as a sentence; None if none.
    """

    path: Path
    room: Room | None
    replaced: str | None

    @property
    def about(self) -> dict[str, object]:
        """Return what JSON says of it."""
        room = None if self.room is None else asdict(self.room)
        return {"path": str(self.path), "register": room, "replaced": self.replaced}

    def tell(self, needs: Mapping[str, object], *, as_json: bool) -> None:
        """Say it, and what comes next.

        Args:
            needs: Options that training takes too, as they were given; None for none.
            as_json: Whether to say nothing.
        """
        if as_json:
            return
        for said in (self.replaced, None if self.room is None else self.room.sentence):
            if said is not None:
                talk(said)
        words = ["privplan", "train", str(self.path)]
        for name, given in needs.items():
            words += [] if given is None else [name, str(given)]
        talk(f"No record was touched. Saved {self.path}. Next: {shlex.join(words)}")


def save(made: Plan, path: Path, room: Room | None, *, force: bool) -> Saved:
    """Write a plan.

    Args:
        made: The plan.
        path: Where it goes.
        room: What a register has left for it.
        force: Whether to replace whatever is there.

    Returns:
        What became of it.

    Raises:
        DocumentError: The folder is missing or not writable.
        PolicyError: What is there was approved, was run, or is no plan.
    """
    there = _there(path)
    same = there is not None and there.digest == made.digest
    if not (same or force) and path.exists():
        _refuse_if_needed(there, path)
    plans.write(made, path)
    replaced = None
    if there is not None and not same:
        replaced = (
            f"Replaced the plan {there.digest[:12]} (epsilon "
            f"{there.budget.target_epsilon:g}) that was in {path}."
        )
    return Saved(path=path, room=room, replaced=replaced)


def plan_file(given: Path) -> Path:
    """Return a plan file: the one given, or that of a run folder."""
    return given / folders.PLAN_NAME if given.is_dir() else given


def is_for_a_subcommand(context: typer.Context) -> bool:
    """Return whether `plan` was called for a subcommand of it.

    Raises:
        ParameterError: Then, there is an option before it, which nothing would read.
    """
    if context.invoked_subcommand is None:
        return False
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ParameterError(
                f"--{name.replace('_', '-')} has no effect before "
                f"'{context.invoked_subcommand}'",
                hint=f"see privplan plan {context.invoked_subcommand} --help",
            )
    return True


def _there(path: Path) -> Plan | None:
    try:
        return plans.read(path)
    except PrivplanError:
        return None


def _refuse_if_needed(there: Plan | None, path: Path) -> None:
    if there is None:
        raise PolicyError(
            f"{path} is there already and is no plan, or a changed one",
            hint="give another --out, or --force to replace it",
        )
    relied_on = {
        "was approved": approval.beside(path).exists(),
        "was run": folders.default_run_folder(there).exists(),
    }
    for what, so in relied_on.items():
        if so:
            raise PolicyError(
                f"{path} holds the plan {there.digest[:12]}, which {what}",
                hint="give another --out, or --force to replace it",
            )
