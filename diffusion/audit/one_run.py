"""The one-run audit: put canaries in by coin, train once, guess who was in.

    coins -> canaries in or out -> private steps -> scores -> k guesses -> a lower bound

In gradient space a canary is a direction of its own: its score is the sum of the noised
sums along it, the strongest attack there is on one record. In pixel space it is a
random picture, shown to the plan's own network by the plan's own loss; its score is how
far the noised sums go along its gradient at the first weights.

The steps are those of the code that trains, at a fixed small epsilon: at a large one no
number of canaries could show anything. How many guesses are made, the significance and
delta are fixed before anything is looked at.

Source: Steinke, Nasr, Jagielski 2023, arXiv:2305.08846; see `privplan.one_run`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from diffusion.audit.common import Progress, silent
from diffusion.canaries import carry_out
from diffusion.data import PrivateImages
from diffusion.parts import private_network
from diffusion.per_example import Clipping, engine
from diffusion.physical_batch import PhysicalBatch
from diffusion.randomness import RandomSource, SecureStream
from diffusion.readers.latent_set import part
from diffusion.rehearsal import Setting, listening, noised_sum, shaken
from diffusion.releases import made_up, setting_of
from diffusion.step_parts import Mechanism
from diffusion.trainer import Performance
from diffusion.watching import RunOptions
from privplan import accounting, calibration, checks, one_run, tradeoff
from privplan.audit_schema import CanaryBound
from privplan.budget import PrivacyBudget
from privplan.errors import ParameterError
from privplan.events import Event, PoissonSampledGaussianEvent, SelfComposedEvent
from privplan.one_run import Guesses
from privplan.plan import Plan

_AT_ONCE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRun:
    """What is fixed before a one-run audit looks at anything; all of it public.

    Attributes:
        epsilon: What the audited steps are calibrated to.
        delta: Of that claim.
        canaries: m, each in or out by a fair coin.
        guesses: k, half of them "in", half "out"; even.
        steps: Private steps.
        sample_rate: Of each.
        significance: How often an honest run may be refuted.

    Raises:
        ParameterError: A number is outside its range.
    """

    epsilon: float = 1.0
    delta: float = 1e-5
    canaries: int = 2000
    guesses: int = 200
    steps: int = 20
    sample_rate: float = 0.25
    significance: float = 0.05

    def __post_init__(self) -> None:
        PrivacyBudget(target_epsilon=self.epsilon, target_delta=self.delta)
        checks.count(canaries=self.canaries, guesses=self.guesses, steps=self.steps)
        checks.rate(sample_rate=self.sample_rate)
        checks.probability(significance=self.significance)
        if self.guesses % 2 or not self.guesses <= self.canaries:
            raise ParameterError(
                f"guesses is {self.guesses}, but it must be even and at most the "
                f"number of canaries, {self.canaries}",
                hint="make a tenth as many guesses as there are canaries",
            )

    def event(self, noise_multiplier: float) -> Event:
        """Return everything the audited steps do, at some noise."""
        step = PoissonSampledGaussianEvent(
            sample_rate=self.sample_rate, noise_multiplier=noise_multiplier
        )
        return SelfComposedEvent(event=step, count=self.steps)

    def noise_multiplier(self) -> float:
        """Return the least noise that keeps the audited steps inside their claim."""
        budget = PrivacyBudget(target_epsilon=self.epsilon, target_delta=self.delta)
        return calibration.noise_multiplier(self.event, budget=budget)


Score = Callable[[PrivateImages], Tensor]


def in_gradients(
    setting: OneRun, options: RunOptions, *, progress: Progress = silent
) -> CanaryBound:
    """Audit with canaries in gradient space.

    Args:
        setting: Fixed beforehand.
        options: Engine.
        progress: Told how far it is.
    """
    noise = setting.noise_multiplier()
    found = guesses_in_gradients(setting, noise, options, progress=progress)
    return _bound(setting, "gradients", noise, found)


def guesses_in_gradients(
    setting: OneRun, noise: float, options: RunOptions, *, progress: Progress = silent
) -> Guesses:
    """Carry out the steps once, on canaries in gradient space, and guess.

    Args:
        setting: Fixed beforehand.
        noise: The noise multiplier of the steps.
        options: Engine.
        progress: Told how far it is.
    """
    coins = _coins(setting.canaries)
    members = torch.nonzero(coins).flatten()
    scores = torch.zeros(setting.canaries, dtype=torch.float64)
    for done in range(0, setting.steps, _AT_ONCE):
        progress("canaries in gradients", done, setting.steps)
        found = carry_out(
            _mechanism(setting, noise),
            engine(options.engine),
            steps=min(_AT_ONCE, setting.steps - done),
            members=members,
            width=setting.canaries,
            random=RandomSource(),
        )
        scores += found.sums.sum(0)
    progress("canaries in gradients", setting.steps, setting.steps)
    return guess(scores, coins, setting)


def in_pixels(
    plan: Plan, setting: OneRun, options: RunOptions, *, progress: Progress = silent
) -> CanaryBound | None:
    """Audit with canaries in pixel space, on the network and loss of a plan.

    Args:
        plan: Whose first private phase is tried.
        setting: Fixed beforehand.
        options: Engine and device.
        progress: Told how far it is.

    Returns:
        The bound; None if the plan trains on no record.
    """
    if not plan.private_phases:
        return None
    noise = setting.noise_multiplier()
    canaries, coins = made_up(plan, setting.canaries), _coins(setting.canaries)
    members = part(canaries, coins)
    planned = setting_of(plan, plan.private_phases[0], options)
    step = Setting(
        mechanism=_mechanism(setting, noise),
        loss=replace(planned.loss, label_dropout=0.0),
        performance=Performance(
            engine=planned.performance.engine,
            physical_batch=PhysicalBatch(64),
            device=planned.performance.device,
        ),
    )
    learner = listening(shaken(private_network(plan).to(options.device)))
    total = torch.zeros(())
    for done in range(setting.steps):
        progress("canaries in pixels", done, setting.steps)
        total = total + noised_sum(learner, members, step, RandomSource())
    alone = replace(step, mechanism=_alone(step.mechanism))
    scores = torch.zeros(setting.canaries, dtype=torch.float64)
    for canary in range(setting.canaries):
        progress("canaries in pixels", canary, setting.canaries)
        shown = part(canaries, torch.tensor([canary]))
        share = noised_sum(learner, shown, alone, RandomSource())
        scores[canary] = total @ share
    progress("canaries in pixels", setting.canaries, setting.canaries)
    return _bound(setting, "pixels", noise, guess(scores, coins, setting))


def guess(scores: Tensor, coins: Tensor, setting: OneRun) -> Guesses:
    """Guess "in" for the highest scores, "out" for the lowest, and count.

    Example:
        >>> setting = OneRun(canaries=4, guesses=2)
        >>> coins = torch.tensor([True, False, True, False])
        >>> guess(torch.tensor([0.1, 0.2, 0.9, -0.3]), coins, setting).correct
        2
    """
    order = torch.argsort(scores, stable=True)
    half = setting.guesses // 2
    right = int(coins[order[-half:]].sum()) + int((~coins[order[:half]]).sum())
    return Guesses(canaries=setting.canaries, guesses=setting.guesses, correct=right)


def _bound(
    setting: OneRun,
    space: Literal["gradients", "pixels"],
    noise: float,
    found: Guesses,
) -> CanaryBound:
    claim = setting.event(noise)
    delta, significance = setting.delta, setting.significance

    def curved(guesses: Guesses) -> float:
        return one_run.curve_epsilon_lower(
            guesses,
            lambda factor: setting.event(noise * factor),
            delta=delta,
            significance=significance,
        )

    def plain(guesses: Guesses) -> float:
        return one_run.epsilon_lower(guesses, delta=delta, significance=significance)

    rates = one_run.asked_rates(found, significance)
    curve = tradeoff.curve(claim, rates, tolerance=1e-4)
    return CanaryBound(
        space=space,
        event=claim,
        claimed_epsilon=accounting.epsilon(claim, delta=delta).upper,
        delta=delta,
        significance=significance,
        canaries=found.canaries,
        guesses=found.guesses,
        correct=found.correct,
        epsilon_lower=plain(found),
        ceiling=plain(found.perfect()),
        curve_epsilon_lower=curved(found),
        curve_ceiling=curved(found.perfect()),
        curve_refuted=one_run.refutes(found, curve, significance=significance),
    )


def _mechanism(setting: OneRun, noise: float) -> Mechanism:
    return Mechanism(
        sample_rate=setting.sample_rate,
        noise_multiplier=noise,
        clipping=Clipping(max_grad_norm=1.0),
        noise_multiplicity=1,
        expected_batch_size=setting.sample_rate * setting.canaries / 2,
    )


def _alone(mechanism: Mechanism) -> Mechanism:
    """Return the same step for one record by itself, with next to no noise."""
    return replace(
        mechanism, sample_rate=1.0, noise_multiplier=1e-6, expected_batch_size=1.0
    )


def _coins(count: int) -> Tensor:
    stream: SecureStream = RandomSource().stream()
    return torch.from_numpy(stream.below(0.5, count).copy())
