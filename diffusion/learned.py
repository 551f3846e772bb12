"""What a run has learned: the networks of its plan, and the answers it was given.

    parts     one learner per network; the sharing mode says which there are
    answers   noisy answers to queries, one row for each time a query was asked

An answer is public once it is noised, and it is kept exactly as it was given: asking
again would cost again.
"""

from dataclasses import dataclass, field

from torch import Tensor

from diffusion.trainer import Learner


@dataclass(slots=True, kw_only=True)
class Learned:
    """What training changes, of a whole plan.

    Attributes:
        parts: The networks by name, each with its optimiser and averages.
        active: The part that the present phase trains; None if it trains none.
        answers: Noisy answers by the name of their phase, float64, shape
            (times asked, length).
    """

    parts: dict[str, Learner]
    active: str | None = None
    answers: dict[str, Tensor] = field(default_factory=dict)

    @property
    def learner(self) -> Learner | None:
        """The learner of the present phase, if it trains one."""
        return None if self.active is None else self.parts[self.active]

    @property
    def steps_done(self) -> int:
        """Steps of the present phase that are in the weights."""
        return 0 if self.learner is None else self.learner.steps_done
