"""What a claim takes for granted: of every run, and of the plan at hand.

Images called public are the weakest of these. Nothing can prove that no protected
record is among them; so a report names them by digest, and whoever declared it, also
where they were learned from elsewhere, long before the plan. It also says which
parameters private steps change: the others are as they were, and as public.

Every sentence is a function of the plan alone, and the verifier writes them anew.
"""

from __future__ import annotations

from privplan import plan_size, tuning
from privplan import report_words as words
from privplan.borrowed import ElsewherePhase
from privplan.errors import IntegrityError
from privplan.plan import Plan, PretrainedPhase, PublicPhase
from privplan.report_schema import Predicate

_LONGEST = 240


def trains(plan: Plan) -> str:
    """Say what private steps change, and what they leave as it was."""
    if not plan.private_phases:
        return "no private phase"
    whole = plan_size.all_parameters(plan.data, plan.training)
    if plan.training.tune == tuning.ALL:
        return f"all {whole:,} parameters"
    count = plan_size.trained_parameters(plan.data, plan.training)
    return (
        f"{plan.training.tune}: {count:,} parameters; the {whole:,} of the network "
        "that are not among them stay as they were, to the last bit"
    )


def relied_on(plan: Plan) -> dict[str, str]:
    """Return what the claim takes for granted, by name."""
    found = words.assumptions(plan.data.unit_column)
    for phase in plan.phases_of(PretrainedPhase):
        data = [_declared(part) for part in phase.lineage]
        found["pretrained-weights"] = words.PRETRAINED.format(
            digest=phase.checkpoint_digest, data="; ".join(data)
        )
    latent = plan.training.latent
    if latent is not None:
        data = [_declared(part) for part in latent.lineage]
        found["autoencoder"] = words.AUTOENCODER.format(
            digest=latent.autoencoder_digest, data="; ".join(data)
        )
    text = plan.training.text
    if text is not None:
        data = [_declared(part) for part in text.lineage]
        found["text-encoder"] = words.TEXT_ENCODER.format(
            digest=text.encoder_digest, name=text.name, data="; ".join(data)
        )
    public = plan.phases_of(PublicPhase)
    if public:
        data = [_declared(phase) for phase in public]
        found["public-images"] = words.PUBLIC_IMAGES.format(data="; ".join(data))
    return found


def check(said: Predicate) -> str:
    """Compare what a report takes for granted with what its plan rests on.

    Returns:
        What the plan rests on beside what every plan does, for the verifier to print.

    Raises:
        IntegrityError: The report says less, more or other than that.
    """
    expected = relied_on(said.plan)
    for name in (*expected, *said.assumptions):
        if said.assumptions.get(name) != expected.get(name):
            raise _wrong(f"the assumption '{name[:40]}' is not what the plan rests on")
    silent = said.mechanism.trains is None and said.plan.training.tune == tuning.ALL
    if not silent and said.mechanism.trains != trains(said.plan):
        raise _wrong("the report and its plan do not train the same parameters")
    own = [name for name in expected if name not in words.ASSUMPTIONS]
    if not own:
        return "no data are called public"
    named = "; ".join(f"{name}: {expected[name]}" for name in own)
    shown = named if len(named) <= _LONGEST else f"{named[:_LONGEST]}…"
    return f"it takes for granted {shown}"


def _declared(part: object) -> str:
    if isinstance(part, PublicPhase):
        return (
            f"{part.data_name}, sha256 {part.data_digest}, declared public by "
            f"{part.declared_by}"
        )
    if isinstance(part, ElsewherePhase):
        return (
            f"{part.data_name}, which only those saw who trained the weights sha256 "
            f"{part.weights_digest}, declared public by {part.declared_by}"
        )
    return "images that a program draws"


def _wrong(problem: str) -> IntegrityError:
    return IntegrityError(
        problem, hint="ask the one who signed for an unchanged report and its files"
    )
