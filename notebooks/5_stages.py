# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. Stages: what the allocation changes
#
# A diffusion model learns to remove noise, from very strong (here sigma 10: next to
# nothing is left to see) to hardly visible (sigma 0.02). These noise levels fall into three stages, *coarse*,
# *context* and *cleaning*, and each may learn from something else. Only what learns from
# records costs privacy.
#
# Five allocations, one budget:

# %%
from privplan import PlanRequest, Wishes, make_plan
from privplan.presets import PRESETS

plans = {
    name: make_plan(
        PlanRequest(
            target_epsilon=4.0,
            stages=name,
            wishes=Wishes(
                steps=30,
                synthetic_steps=None if name == "dpdm" else 80,
            ),
        )
    )
    for name in PRESETS
}

# %%
from privplan import plan_plot

plan_plot.stages(plans)

# %% [markdown]
# *syngen-finetune* looks like *dpdm* here: all its levels end up learning from records, but
# the network has been trained on synthetic pictures before. *best* starts from one noisy
# query for the mean and spread of each class.
#
# ## What it costs
# Every plan spends the whole budget: what one phase does not take, the private steps get
# as less noise. A stage that learns from drawn pictures is free, but it does not make the
# steps of the others cheaper. What a record loses depends on how often it is looked at and
# with how much noise, not on which noise levels it is shown at.

# %%
from privplan.plan_compare import differences

differences(plans)

# %% [markdown]
# So an allocation does not change the price. It changes what is *learned* for that price:
# private steps are spent on fewer noise levels, and start from a network that already
# knows something.
#
# ## What it looks like
# Three of the plans, carried out with the same few steps.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusion.data import load_private
from diffusion.run import train

work = TemporaryDirectory()
folder = Path(work.name)
records = load_private("digits")
tried = ["dpdm", "syngen-finetune", "best"]
for name in tried:
    train(plans[name], records, folder / name)

# %%
from diffusion import sampling
from diffusion.sampler import SamplerConfig
from diffusion.sampling import SampleRequest


def drawn(name, count=200):
    plan = plans[name]
    sampler = SamplerConfig(
        sigma_min=plan.training.sigma_min, sigma_max=plan.training.sigma_max
    )
    request = SampleRequest(count=count, guidance=0.5, sampler=sampler)
    sampling.write(
        sampling.draw(plan, folder / name, request), folder / name, classes=10
    )
    return sampling.read(folder / name)


samples = {name: drawn(name) for name in tried}

# %%
import matplotlib.pyplot as plt

figure, rows = plt.subplots(len(samples), 10, figsize=(7, 2.4))
for row, (name, images) in zip(rows, samples.items(), strict=True):
    for axes, image in zip(row, images.images, strict=False):
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.subplots_adjust(left=0.17, wspace=0.05, hspace=0.05)

# %% [markdown]
# ## What it is worth
# Classifiers learn from drawn digits and are tested on real ones that nobody trained on.
# Thirty steps are far too few for a final word, and every execution draws fresh noise, so
# the first two may change places.

# %%
from diffusion.data import load_public
from diffusion.evaluation.classifiers import accuracies

held_out = load_public("digits", split="test")
found = {
    name: accuracies(images, held_out).logistic_regression
    for name, images in samples.items()
}

# %%
figure, axes = plt.subplots(figsize=(6, 2))
axes.barh(list(found), list(found.values()))
axes.axvline(0.1, color="grey", linestyle=":", label="guessing")
axes.set(xlabel="accuracy on real digits", xlim=(0, 1))
axes.invert_yaxis()
_ = axes.legend(loc="upper right")
