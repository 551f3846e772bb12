"""What a run shows while it runs: a live view on a terminal, plain lines elsewhere.

Everything shown is public: steps, the epsilon of the steps begun so far, time. No
loss, no batch size, no gradient norm.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cli import second_opinions
from privplan.canonical import text_up
from privplan.plan import Plan, PlanPhase
from privplan.summary import spent

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_EPSILONS = 1.0


class Interrupt:
    """Turns the first Ctrl-C into a wish to stop; the second stops at once.

    Args:
        quiet: Say nothing about it; another process of the run does.
        launcher: The process that started this one, whose end is such a wish too; None
            if nobody did who matters.
    """

    def __init__(self, *, quiet: bool = False, launcher: int | None = None) -> None:
        self._noted = False
        self._quiet, self._launcher = quiet, launcher

    @property
    def wished(self) -> bool:
        """Whether the run should stop after this step."""
        orphaned = self._launcher is not None and os.getppid() != self._launcher
        return self._noted or orphaned

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Catch Ctrl-C and a polite kill while the block runs."""
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self._note) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True
        if not self._quiet:
            sys.stderr.write(
                "finishing this step and those reserved with it, then saving\n"
            )


class QuietView:
    """Watches a run that another process shows; passes the wish to stop on."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    @contextmanager
    def shown(self) -> Iterator[QuietView]:
        """Watch while the block runs."""
        with self._interrupt.watched():
            yield self

    def ready(self, plan: Plan) -> None:
        """Do nothing."""

    def begin(self, phase: PlanPhase, *, done: int, lost: int) -> None:
        """Do nothing."""

    def advance(self, phase: PlanPhase, *, done: int) -> None:
        """Do nothing."""

    def should_stop(self) -> bool:
        """Whether this process was asked to stop."""
        return self._interrupt.wished


class LiveView:
    """Watches a run; use as `with LiveView(plan, interrupt).shown() as view`."""

    def __init__(self, plan: Plan, interrupt: Interrupt) -> None:
        self._plan = plan
        self._interrupt = interrupt
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("epsilon {task.fields[epsilon]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._counted: dict[str, int] = {}
        self._said = self._priced = 0.0
        self._epsilon = "0"

    @contextmanager
    def shown(self) -> Iterator[LiveView]:
        """Show the view while the block runs."""
        with self._interrupt.watched(), self._progress:
            yield self

    def ready(self, plan: Plan) -> None:
        """Ask the other accountants, if the plan holds no answer of theirs.

        Raises:
            PolicyError: They disagree.
        """
        said = second_opinions.ask(plan)
        if said is not None:
            self._console.print(said, soft_wrap=True)

    def begin(self, phase: PlanPhase, *, done: int, lost: int) -> None:
        """A phase begins or goes on."""
        self._counted[phase.name] = done
        self._tasks[phase.name] = self._progress.add_task(
            phase.name, total=phase.steps, completed=done, epsilon=self._epsilon
        )
        self._line(f"{phase.name}: {done:,} of {phase.steps:,} steps")
        if lost:
            self._console.print(
                f"{lost:,} of the {done:,} steps begun were lost when the run broke "
                "off; they stay spent"
            )

    def advance(self, phase: PlanPhase, *, done: int) -> None:
        """A step was carried out."""
        now = time.monotonic()
        self._counted[phase.name] = done
        last = done >= phase.steps
        if last or now - self._priced > _SECONDS_BETWEEN_EPSILONS:
            self._priced = now
            self._epsilon = text_up(spent(self._plan, self._counted), 4)
        self._progress.update(
            self._tasks[phase.name], completed=done, epsilon=self._epsilon
        )
        if last or now - self._said > _SECONDS_BETWEEN_LINES:
            self._line(
                f"{phase.name}: {done:,} of {phase.steps:,} steps, epsilon "
                f"{self._epsilon} of {self._plan.budget.target_epsilon:g}"
            )

    def should_stop(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._interrupt.wished

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        if not self._console.is_terminal:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
