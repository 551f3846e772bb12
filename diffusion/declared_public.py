"""Is what a run is given as public what its plan says is public?

A plan names public images and pretrained weights by digest. Others than those could be
anyone's, also the records'; so they are refused before anything is written.
"""

from diffusion.data import PublicImages, public_digest
from diffusion.pretrained import PretrainedWeights
from privplan import pretrained
from privplan.errors import ParameterError, PolicyError
from privplan.plan import Plan, PretrainedPhase, PublicPhase


def check_images(plan: Plan, public: PublicImages | None) -> None:
    """Compare public images with those the plan names.

    Raises:
        ParameterError: The plan learns from public images and there are none, or it
            does not and there are some.
        PolicyError: They are other images than the plan names.
    """
    phases = plan.phases_of(PublicPhase)
    if public is None and phases:
        raise ParameterError(
            f"this plan learns from the public images {phases[0].data_name}, so they "
            "must be named",
            hint="add --public with the data the plan was made with",
        )
    if public is not None and not phases:
        raise ParameterError(
            "public images were given, but no phase of this plan learns from any",
            hint="leave --public away, or plan with it",
        )
    for phase in phases:
        if public is None or public_digest(public) != phase.data_digest:
            raise PolicyError(
                f"these are not the public images {phase.data_name} that the plan "
                "was made with",
                hint="give those, or plan with these: privplan plan --public",
            )


def check_weights(
    plan: Plan, weights: PretrainedWeights | None, *, resume: bool
) -> None:
    """Compare a checkpoint with the one that the plan begins from.

    Args:
        plan: The plan.
        weights: What was given.
        resume: A run that goes on has taken its weights over, or asks again.

    Raises:
        ParameterError: The plan begins from a checkpoint and none was given, or it does
            not and one was, or its network is of another shape.
        PolicyError: It is another checkpoint than the plan names.
    """
    phases = plan.phases_of(PretrainedPhase)
    if weights is None and phases and not resume:
        raise ParameterError(
            "this plan begins from a pretrained checkpoint, so it must be named",
            hint="add --from with the folder that the plan was made with",
        )
    if weights is not None and not phases:
        raise ParameterError(
            "a pretrained checkpoint was given, but this plan begins from none",
            hint="leave --from away, or plan with it: privplan plan --from",
        )
    for phase in phases:
        if weights is None:
            continue
        pretrained.check_fits(weights.document, plan.data, plan.training)
        if weights.document.digest != phase.checkpoint_digest:
            raise PolicyError(
                "this is not the pretrained checkpoint that the plan was made with",
                hint="give that one, or plan with this one: privplan plan --from",
            )
