"""What `privplan bench` compares: recipes by name, and the rivals each must beat.

    NAME or STAGES[:KEY=VALUE]...      best    dpdm:pretrain=synthetic:steps=200

    best, dpdm, syngen-...   as `--stages` takes them
    default                  what `privplan plan` does without `--stages`
    gaussian                 one noisy query with the whole budget, no training
    staged                   Gaussian coarse, private below it, synthetic images first,
                             in EDM's form: staging alone, without preconditioning
    control                  the same with private steps at (nearly) every sigma; the
                             Gaussian still answers above the same boundary. What
                             `staged` gains over it comes from restricting the steps

Nothing here looks at images.
"""

from dataclasses import dataclass, replace

from privplan.errors import ParameterError
from privplan.plan import Plan, SyntheticPhase
from privplan.planner import (
    DeclaredData,
    PlanRequest,
    TrainingWishes,
    Wishes,
    make_plan,
)
from privplan.recipes import recipe
from privplan.stage_text import default_coarse_boundary
from privplan.stages import Sharing, Source

GAUSSIAN = "gaussian"
_ALL_GAUSSIAN = "coarse=gaussian,context=gaussian,cleaning=gaussian"
_EDM = {"pretrain": "synthetic", "parameterisation": "edm"}
_STAGED = "coarse=gaussian,context=private,cleaning=private"
_NEARLY_TOP = 0.99
_HINT = (
    "write NAME or STAGES with :KEY=VALUE, as in best or dpdm:pretrain=synthetic:"
    "steps=200; keys are pretrain, parameterisation, share, steps, rate, draws, "
    "synthetic-steps, prior-noise"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRecipe:
    """One recipe, as a request to the planner.

    Attributes:
        text: How it was written; its name in tables.
        request: For any epsilon; the epsilon in it is replaced.
        answers_from: Sigma from which the Gaussian answers when sampling; None for
            the boundary of the plan. Post-processing either way.
    """

    text: str
    request: PlanRequest
    answers_from: float | None = None

    def plan(self, epsilon: float, delta: float | None = None) -> Plan:
        """Return the plan of this recipe for a budget.

        Raises:
            PrivplanError: The planner refuses.
        """
        return make_plan(
            replace(self.request, target_epsilon=epsilon, target_delta=delta)
        )


def parse(text: str, data: DeclaredData) -> BenchRecipe:
    """Read one recipe.

    Args:
        text: See the module.
        data: What is declared about the images.

    Raises:
        ParameterError: Not a recipe.

    Example:
        >>> from privplan.planner import DIGITS
        >>> parse("dpdm:steps=50", DIGITS).plan(10.0).private_phases[0].steps
        50
    """
    name, *pairs = text.strip().split(":")
    given = dict(_pair(pair) for pair in pairs)
    stages: str | None = name
    answers_from = None
    if name == "default":
        stages = None
    elif name == GAUSSIAN:
        stages = _ALL_GAUSSIAN
    elif name == "staged":
        stages, given = _STAGED, _EDM | given
    elif name == "control":
        stages, answers_from = _controlled(data)
        given = _EDM | given
    elif not name:
        raise ParameterError("a recipe has no name", hint=_HINT)
    return BenchRecipe(
        text=text.strip(),
        request=PlanRequest(
            target_epsilon=1.0,
            data=data,
            stages=stages,
            training=_training(given),
            wishes=_wishes(given),
        ),
        answers_from=answers_from,
    )


def rivals(chosen: BenchRecipe, epsilon: float) -> tuple[str, ...]:
    """Return what a recipe must be held against: the query alone, and DPDM.

    DPDM gets the same epsilon, steps, sample rate, noise draws and pre-training.

    Args:
        chosen: The recipe.
        epsilon: Of the budget.

    Raises:
        PrivplanError: The planner refuses the recipe.

    Example:
        >>> from privplan.planner import DIGITS
        >>> rivals(parse("best", DIGITS), 10.0)
        ('gaussian', 'dpdm:pretrain=synthetic')
        >>> rivals(parse("gaussian", DIGITS), 10.0)
        ()
    """
    plan = chosen.plan(epsilon)
    if not plan.private_phases:
        return () if chosen.text == GAUSSIAN else (GAUSSIAN,)
    pretrained = bool(plan.phases_of(SyntheticPhase))
    short = "dpdm:pretrain=synthetic" if pretrained else "dpdm"
    if chosen.text == short or _is_dpdm(plan):
        return (GAUSSIAN,)
    phase = plan.private_phases[0]
    if _work(parse(short, chosen.request.data).plan(epsilon)) != _work(plan):
        mechanism = phase.mechanism
        short += (
            f":steps={phase.steps}:rate={mechanism.sample_rate:g}"
            f":draws={phase.noise_multiplicity}"
        )
    return (GAUSSIAN, short)


def _is_dpdm(plan: Plan) -> bool:
    alone = {stage.source for stage in plan.stages} == {Source.PRIVATE}
    return alone and plan.training.parameterisation == "edm"


def _work(plan: Plan) -> tuple[int, float, int]:
    phase = plan.private_phases[0]
    return phase.steps, phase.mechanism.sample_rate, phase.noise_multiplicity


def _controlled(data: DeclaredData) -> tuple[str, float]:
    settings = recipe(records=data.records, height=data.height, width=data.width)
    boundary = default_coarse_boundary(
        data.channels * data.height * data.width,
        sigma_max=settings.sigma_max,
        source=Source.GAUSSIAN,
    )
    top = f"{_NEARLY_TOP * settings.sigma_max:g}"
    return f"coarse=gaussian@{top},context=private,cleaning=private", boundary


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in _KEYS:
        raise ParameterError(f"'{text[:40]}' is no setting of a recipe", hint=_HINT)
    return key, value


def _training(given: dict[str, str]) -> TrainingWishes:
    return TrainingWishes(
        sharing=Sharing(_one_of(given, "share", tuple(Sharing)) or Sharing.SEQUENTIAL),
        pretraining=_one_of(given, "pretrain", ("synthetic", "none")),  # type: ignore[arg-type]
        parameterisation=_one_of(  # type: ignore[arg-type]
            given, "parameterisation", ("edm", "v", "vp", "ve", "gaussian")
        ),
    )


def _wishes(given: dict[str, str]) -> Wishes:
    return Wishes(
        steps=_whole(given, "steps"),
        sample_rate=_number(given, "rate"),
        noise_multiplicity=_whole(given, "draws"),
        synthetic_steps=_whole(given, "synthetic-steps"),
        prior_noise=_number(given, "prior-noise"),
    )


_KEYS = {
    "pretrain",
    "parameterisation",
    "share",
    "steps",
    "rate",
    "draws",
    "synthetic-steps",
    "prior-noise",
}


def _one_of(given: dict[str, str], key: str, words: tuple[str, ...]) -> str | None:
    found = given.get(key)
    if found is not None and found not in words:
        raise ParameterError(
            f"{key} is '{found[:20]}' in a recipe", hint=f"give {', '.join(words)}"
        )
    return found


def _number(given: dict[str, str], key: str) -> float | None:
    try:
        found = float(given[key]) if key in given else None
    except ValueError:
        found = float("nan")
    if found is not None and not 0 < found < float("inf"):
        raise ParameterError(
            f"{key} is '{given[key][:20]}' in a recipe", hint="give a number above 0"
        )
    return found


def _whole(given: dict[str, str], key: str) -> int | None:
    found = _number(given, key)
    if found is not None and found != int(found):
        raise ParameterError(
            f"{key} is '{given[key][:20]}' in a recipe", hint="give a whole number"
        )
    return None if found is None else int(found)
