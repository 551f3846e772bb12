"""Images from the averaged weights while a run goes on.

The weights of a step are public once its noise is on: the claim is for all iterates.
Whatever is drawn from them is post-processing and costs no privacy. What it does cost
is time: ten times in a phase, a few images in a few steps of the sampler.

When a preview is due is a matter of the plan and of no clock. Files named by the step
that a clock had reached would tell how long steps take, and so the size of batches.

The noise they start from is the same each time, so two previews show what training
changed and nothing else. It comes from a generator of its own and touches none of the
run's randomness.
"""

import time

import torch
from jaxtyping import UInt8
from torch import Tensor

from diffusion.blueprint import network_of
from diffusion.denoisers import denoiser_of
from diffusion.latents import LatentSpace
from diffusion.learned import Learned
from diffusion.parts import parts_of
from diffusion.queries import prior_of
from diffusion.readers.captions import NONE
from diffusion.sampler import SamplerConfig, sample
from diffusion.text_encoder import TextEncoder, read_captions
from diffusion.watching import RunOptions
from privplan.plan import Plan, PlanPhase

COUNT = 16
_SAMPLER_STEPS = 10
_SEED = 20240606
_PER_PHASE = 10


class Previews:
    """Draws previews of a run when they are due; does nothing where nobody looks."""

    def __init__(self, plan: Plan, options: RunOptions) -> None:
        self._plan = plan
        self._gallery = options.gallery
        self._device = torch.device(options.device)
        self._space, self._text = options.autoencoder, options.text

    def look(self, learned: Learned, phase: PlanPhase) -> None:
        """Draw images, if somebody wants them and another tenth of the phase is done.

        Args:
            learned: The weights and answers so far.
            phase: The present phase.
        """
        done = learned.steps_done
        if self._gallery is None or not is_due(done=done, steps=phase.steps):
            return
        began = time.monotonic()
        images = preview(
            self._plan,
            learned,
            device=self._device,
            space=self._space,
            text=self._text,
        )
        took = time.monotonic() - began
        self._gallery.hang(images, phase=phase.name, done=done, seconds=took)


def is_due(*, done: int, steps: int) -> bool:
    """Return whether a preview is due after so many steps of a phase.

    Example:
        >>> [done for done in range(1, 26) if is_due(done=done, steps=25)]
        [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    """
    return _PER_PHASE * done // steps > _PER_PHASE * (done - 1) // steps


def preview(
    plan: Plan,
    learned: Learned,
    *,
    device: torch.device | None = None,
    space: LatentSpace | None = None,
    text: TextEncoder | None = None,
) -> UInt8[Tensor, "rows channels height width"]:
    """Draw a few images from averaged weights; the run itself is not touched.

    Args:
        plan: Of the run.
        learned: The weights and answers so far.
        device: Where to draw; default the processor.
        space: What brings latents back to images, where the plan trains on latents.
        text: What reads captions, where the plan has some; images are drawn for none.

    Returns:
        0..255, on the processor; one label after the other.
    """
    where = device or torch.device("cpu")
    networks = {}
    for name in parts_of(plan):
        network = network_of(plan).eval()
        network.load_state_dict(learned.parts[name].ema.averaged())
        read_captions(network, None if text is None else text.table(()))
        networks[name] = network.to(where)
    prior = prior_of(plan, learned.answers)
    data, training = plan.data, plan.training
    labels = torch.arange(COUNT, device=where) % data.classes
    drawn = sample(
        denoiser_of(plan, networks, None if prior is None else prior.to(str(where))),
        labels=labels if text is None else torch.full_like(labels, NONE),
        shape=(data.channels, data.height, data.width),
        config=SamplerConfig(
            steps=_SAMPLER_STEPS,
            sigma_min=training.sigma_min,
            sigma_max=training.sigma_max,
        ),
        generator=torch.Generator(device=where).manual_seed(_SEED),
    )
    if space is not None:
        drawn = space.decode(drawn)
    return ((drawn.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
