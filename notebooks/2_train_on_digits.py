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
# # 2. Train on digits, and look
#
# A whole run, small enough for a laptop: plan, train, draw, score, report. The records are
# 1,437 digits of 8 by 8 pixels, treated as if each were somebody's. Forty private steps
# are few; `make demo` takes more and draws better.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from privplan import PlanRequest, Wishes, make_plan

work = TemporaryDirectory()
folder = Path(work.name) / "run"
wishes = Wishes(steps=40, synthetic_steps=100)
plan = make_plan(PlanRequest(target_epsilon=10.0, stages="best", wishes=wishes))
plan

# %% [markdown]
# Which noise levels learn from what: the coarse ones from a single noisy query for the
# mean and spread of each class, the finer ones from noisy training steps.

# %%
from privplan import plan_plot

plan_plot.stages({"this plan": plan})

# %% [markdown]
# ## Train
# Before the first record is read, the whole machinery is tried on made-up pictures. Then
# every step is written into the ledger *before* it happens.

# %%
from diffusion.data import load_private, load_public
from diffusion.run import train

records = load_private("digits")
records, train(plan, records, folder).finished

# %% [markdown]
# Private images show nothing of themselves when printed. What the run did is in its
# ledger, and the ledger holds no number that was computed from a record.

# %%
from privplan import ledger

ledger.read(folder / "ledger.sqlite")

# %% [markdown]
# ## Look
# Drawing costs no privacy, however much is drawn: it only reads what was released. One
# column is one class. Above, what the noisy query alone gives, without any network; below,
# what the trained network draws.

# %%
from diffusion import sampling
from diffusion.evaluation import released
from diffusion.pictures import picture
from diffusion.sampler import SamplerConfig
from diffusion.sampling import SampleRequest

answers = released.answers_of(plan, folder)
baseline = released.baseline_of(plan, answers, 300)
picture(baseline)

# %%
sampler = SamplerConfig(
    sigma_min=plan.training.sigma_min, sigma_max=plan.training.sigma_max
)
drawn = sampling.draw(
    plan, folder, SampleRequest(count=300, guidance=0.5, sampler=sampler)
)
sampling.write(drawn, folder, classes=10)
samples = sampling.read(folder)
picture(samples)

# %% [markdown]
# Real digits for comparison. These were held out: no training saw them, and they are
# declared public. A picture of the private ones is refused, because a notebook keeps what
# it shows.

# %%
held_out = load_public("digits", split="test")
picture(held_out, rows=2)

# %%
from privplan.errors import PrivplanError

try:
    picture(records)
except PrivplanError as error:
    print(error.message)

# %% [markdown]
# ## Score
# Classifiers learn from drawn digits only and are tested on real ones. A training that
# does not beat its own query was not worth its budget: look at both halves of the table.
# With so few steps the images come closer to real ones, but classifiers learn about as
# much from the query alone.

# %%
from diffusion.evaluation import scores

scores.side_by_side(
    {
        "samples": scores.evaluate(samples, held_out),
        "its query alone": scores.evaluate(baseline, held_out),
    }
)

# %% [markdown]
# ## Report
# The report claims the cost of the plan and names what it does not cover. It is signed,
# and notebook 4 shows how a stranger checks it.

# %%
from privplan import keys
from privplan.run_report import write_report

keys.new_key(folder / "trainer.key", role=keys.Role.TRAINER, passphrase=None)
write_report(plan, folder, keys.load_key(folder / "trainer.key"))
