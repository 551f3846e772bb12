"""What a run shows while it runs: a live view on a terminal, plain lines elsewhere.

Shown are steps, the epsilon of the steps begun so far, and images drawn from averaged
weights, which are post-processing: public, all of it. No loss, no batch size, no
gradient norm. Speed and time left are for this screen; the log has no clock, because
the time of a step tells the size of its batch.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live

from cli import second_opinions
from cli.dashboard import PhaseLine, dashboard
from cli.durations import in_words
from cli.run_log import LOG_NAME, RunLog, is_due
from privplan.canonical import text_up
from privplan.plan import Plan, PlanPhase
from privplan.summary import spent

if TYPE_CHECKING:
    from torch import Tensor

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_EPSILONS = 1.0
_STATE = Path("checkpoint") / "state.safetensors"
_PREVIEWS = "previews"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a user wants to see of a run.

    Attributes:
        previews: Images from the averaged weights, now and then.
        log: Where JSON lines go; None for the run folder.
    """

    previews: bool = False
    log: Path | None = None


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
    """Watches a run; use as `with LiveView(plan, interrupt, folder).shown() as view`.

    Args:
        plan: What is carried out.
        interrupt: Turns Ctrl-C into a wish to stop.
        folder: The run folder.
        wanted: What to show beside.
        console: Where to show it; default standard error.
    """

    def __init__(
        self,
        plan: Plan,
        interrupt: Interrupt,
        folder: Path,
        *,
        wanted: Wanted | None = None,
        console: Console | None = None,
    ) -> None:
        self._plan, self._interrupt, self._folder = plan, interrupt, folder
        self._wanted = wanted or Wanted()
        self._console = console or Console(stderr=True, highlight=False)
        self._log = RunLog(self._wanted.log or folder / LOG_NAME)
        self._lines = {p.name: PhaseLine(p.name, p.steps) for p in plan.phases}
        self._began: dict[str, tuple[float, int]] = {}
        self._said = self._priced = 0.0
        self._epsilon = 0.0
        self._checks = "ledger whole, written before each step"
        self._images: list[RenderableType] = []
        self._live = Live(
            get_renderable=self.picture, console=self._console, refresh_per_second=2
        )

    @contextmanager
    def shown(self) -> Iterator[LiveView]:
        """Show the view while the block runs."""
        with self._interrupt.watched():
            if self._console.is_terminal:
                with self._live:
                    yield self
            else:
                yield self

    def ready(self, plan: Plan) -> None:
        """Ask the other accountants, if the plan holds no answer of theirs.

        Raises:
            PolicyError: They disagree.
        """
        said = second_opinions.ask(plan)
        if said is not None:
            self._console.print(said, soft_wrap=True)
        self._checks += "; accountants agree"
        phases = [{"name": p.name, "steps": p.steps} for p in plan.phases]
        target = plan.budget.target_epsilon
        self._log.write("ready", plan=plan.digest, target_epsilon=target, phases=phases)

    def begin(self, phase: PlanPhase, *, done: int, lost: int) -> None:
        """A phase begins or goes on."""
        line = self._lines[phase.name]
        line.done = done
        self._began[phase.name] = (time.monotonic(), done)
        self._price()
        self._log.write("begin", **self._facts(line), lost=lost)
        self._line(f"{phase.name}: {done:,} of {phase.steps:,} steps")
        if lost:
            self._console.print(
                f"{lost:,} of the {done:,} steps begun were lost when the run broke "
                "off; they stay spent"
            )

    def advance(self, phase: PlanPhase, *, done: int) -> None:
        """A step was carried out."""
        now, line = time.monotonic(), self._lines[phase.name]
        line.done = done
        began, before = self._began[phase.name]
        line.seconds = (now - began) / max(done - before, 1)
        last, due = done >= phase.steps, is_due(done=done, steps=phase.steps)
        if last or due or now - self._priced > _SECONDS_BETWEEN_EPSILONS:
            self._price()
        if due:
            self._log.write("progress", **self._facts(line))
        if last or now - self._said > _SECONDS_BETWEEN_LINES:
            self._line(
                f"{phase.name}: {done:,} of {phase.steps:,} steps, epsilon "
                f"{text_up(self._epsilon, 4)} of "
                f"{self._plan.budget.target_epsilon:g}, {line.left}"
            )

    def hang(self, images: Tensor, *, phase: str, done: int, seconds: float) -> None:
        """Show images drawn from averaged weights, and keep them as a PNG."""
        from cli.half_blocks import sheet  # noqa: PLC0415 - imports numpy
        from diffusion.pictures import save_grid  # noqa: PLC0415 - imports torch

        path = self._folder / _PREVIEWS / f"{phase}-{done:06d}.png"
        pixels = images.numpy()
        path.parent.mkdir(exist_ok=True)
        save_grid(pixels, path, columns=min(len(pixels), 8))
        self._log.write(
            "preview", phase=phase, done=done, file=f"{_PREVIEWS}/{path.name}"
        )
        said = (
            f"{path} after step {done:,} of {phase}; drawn in {in_words(seconds)}, "
            "costs no privacy"
        )
        if not self._console.is_terminal:
            self._line(f"preview {said}")
            return
        colour = self._console.color_system is not None and not self._console.no_color
        drawn = sheet(pixels, width=self._console.width - 1, colour=colour)
        self._images = [drawn, said]

    def finish(self, *, finished: bool) -> None:
        """The run ended, or stopped in good order."""
        self._log.write("end", finished=finished)

    def should_stop(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._interrupt.wished

    def picture(self) -> RenderableType:
        """Return the view as it stands."""
        budget = self._plan.budget
        target, full = budget.target_epsilon, self._plan.accounting.epsilon_upper
        so_far = text_up(self._epsilon, 4) if self._epsilon > 0 else "0"
        words = f"{so_far} of {target:g}, at the end {text_up(full, 4)}"
        return dashboard(
            self._console,
            head=f"plan {self._plan.digest[:12]}  {self._folder}  delta "
            f"{budget.target_delta:g}",
            budget=(self._epsilon, target, words),
            lines=list(self._lines.values()),
            checks=self._checks + self._saved(),
            below=self._images,
        )

    def _saved(self) -> str:
        try:
            ago = time.time() - (self._folder / _STATE).stat().st_mtime
        except OSError:
            return ""
        return f"; saved {in_words(max(ago, 0.0))} ago"

    def _price(self) -> None:
        self._priced = time.monotonic()
        counted = {name: line.done for name, line in self._lines.items()}
        self._epsilon = spent(self._plan, counted)

    def _facts(self, line: PhaseLine) -> dict[str, object]:
        epsilon = text_up(self._epsilon, 6) if self._epsilon > 0 else "0"
        return {
            "phase": line.name,
            "done": line.done,
            "steps": line.steps,
            "epsilon": epsilon,
        }

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)
