"""Whether data are what a plan declares; the answer is yes or no and tells no more.

A plan is public, so a refusal may repeat what the plan says. What the data say instead
stays unsaid: neither how many records there are, nor of what shape.
"""

from diffusion.data import PrivateImages
from privplan.errors import PolicyError
from privplan.plan import Plan, PlanData


def check_data(plan: Plan, images: PrivateImages) -> None:
    """Compare the data with what the plan declares; tells only yes or no.

    Raises:
        PolicyError: n, the unit of privacy, the column of captions, the image shape or
            the number of classes is not as declared.
    """
    declared, found = _of_images(plan), images.measured.shape
    column, units = declared.unit_column, images.units
    wanted = None if column is None else (column, plan.budget.max_records_per_unit)
    if wanted != (None if units is None else (units.column, units.max_records)):
        raise PolicyError(
            "the records are not grouped into the units of privacy the plan declares",
            hint="load them with the plan's unit column and bound, or plan anew with "
            "--unit-column",
        )
    captions = None if images.captions is None else images.captions.column
    if captions != declared.caption_column:
        raise PolicyError(
            "the records do not have the captions the plan declares",
            hint="load them with the plan's column of captions, or plan anew with "
            "--caption-column",
        )
    if (found.channels, found.height, found.width) != (
        declared.channels,
        declared.height,
        declared.width,
    ):
        raise PolicyError(
            "the images do not have the shape the plan declares, "
            f"{declared.channels} x {declared.height} x {declared.width}",
            hint="plan for these data with privplan plan --data, or give --image-size",
        )
    if found.records != declared.records:
        raise PolicyError(
            f"the data do not have the number of records or units the plan declares, "
            f"n = {declared.records:,}",
            hint="plan for these data with privplan plan --data, or give other --data",
        )
    if found.classes > declared.classes:
        raise PolicyError(
            f"the data have labels beyond the {declared.classes} classes the plan "
            "declares",
            hint="plan for these data with privplan plan --data",
        )


def _of_images(plan: Plan) -> PlanData:
    """Return what a plan declares of the images, also where it trains on latents."""
    latent = plan.training.latent
    if latent is None:
        return plan.data
    sides = {"height": latent.image_height, "width": latent.image_width}
    return plan.data.model_copy(update={"channels": latent.image_channels, **sides})
