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
# # 3. Audit the budget of a data set
#
# A plan keeps its own promise; it knows nothing of the runs before it. A *register* does.
# An officer grants a data set an epsilon over all its runs, every run takes its share
# before it reads a record, and a run that does not fit is refused.
#
# This notebook first makes such a history, then reads it as an auditor would.

# %% [markdown]
# ## A grant
# The officer signs: these digits may lose epsilon 3 in all.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from privplan import Budget, keys

work = TemporaryDirectory()
folder = Path(work.name)
officer = keys.new_key(folder / "officer.key", role=keys.Role.OFFICER, passphrase=None)
trainer = keys.new_key(folder / "trainer.key", role=keys.Role.TRAINER, passphrase=None)

# %%
from diffusion.data import data_digest, load_private
from privplan.register import GrantRequest, Register

records = load_private("digits")
granted = Budget(target_epsilon=3.0, target_delta=3e-4)
request = GrantRequest(
    data_set="digits", data_digest=data_digest(records), budget=granted
)
with Register.create(folder / "register.sqlite", officer) as book:
    book.grant(request, keys.load_key(folder / "officer.key"))

# %% [markdown]
# ## Two runs
# Each is charged to the register. The second is interrupted after its first step, like a
# job that a cluster has killed.

# %%
from diffusion.run import train
from diffusion.watching import RunOptions, Silent
from privplan import PlanRequest, Wishes, make_plan
from privplan.register_run import Charge
from privplan.run_report import write_report


# %%
class Impatient(Silent):
    """Somebody who stops the run after one step."""

    def should_stop(self):
        return True


def planned(target_epsilon):
    return make_plan(
        PlanRequest(
            target_epsilon=target_epsilon, target_delta=5e-5, wishes=Wishes(steps=10)
        )
    )


# %%
signer = keys.load_key(folder / "trainer.key")
for name, epsilon, watcher in [("spring", 1.0, Silent()), ("summer", 1.5, Impatient())]:
    plan, run = planned(epsilon), folder / "runs" / name
    charge = Charge(register=folder / "register.sqlite", refundable=name == "summer")
    train(plan, records, run, options=RunOptions(charge=charge), watcher=watcher)
    write_report(plan, run, signer)

# %% [markdown]
# ## The audit
# From here on only files are read. First the runs: every ledger's chain is followed, every
# report is verified with the key that the auditor trusts.

# %%
from privplan.runs import read_runs

runs = read_runs(folder / "runs", trusted=[trainer])
runs

# %% [markdown]
# *Claimed* is what the whole plan costs, *spent* is what the ledger counts until now. The
# interrupted run still holds all of its share, because it could be resumed. One ledger and
# one report in full:

# %%
runs["summer"].ledger

# %%
runs["spring"].verdict.predicate

# %% [markdown]
# Then the register. No number in it is taken on trust: each price is computed again from
# the events that were reserved.

# %%
from privplan import register

content = register.read(folder / "register.sqlite")
content

# %%
digits = register.named(content, "digits")
digits

# %%
digits.plot()

# %% [markdown]
# ## What would a new run cost?
# Somebody asks for one more run at epsilon 1. Nothing is reserved by asking.

# %%
from privplan.register_prospect import prospect

prospect(folder / "register.sqlite", "digits", planned(1.0))

# %%
prospect(folder / "register.sqlite", "digits", planned(0.4))

# %% [markdown]
# ## Giving back
# The interrupted run will not be resumed. It was reserved as refundable, which costs its
# delta twice; so it can be settled at the price of the steps that its ledger counted. It
# is over for good then.

# %%
from privplan.register_run import settle

charge = Charge(register=folder / "register.sqlite")
settled = settle(folder / "runs" / "summer" / "ledger.sqlite", charge)
settled.state, settled.settled.counted

# %%
register.named(register.read(folder / "register.sqlite"), "digits")

# %%
prospect(folder / "register.sqlite", "digits", planned(1.0))

# %% [markdown]
# ## How much could still be planned?
# The same question for a range of targets. Where the bar is grey, the register would refuse.

# %%
import matplotlib.pyplot as plt
import numpy as np

targets = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 2.5])
answers = [
    prospect(folder / "register.sqlite", "digits", planned(target))
    for target in targets
]

# %%
taken, limit = answers[0].taken[0], answers[0].granted[0]
colours = ["tab:blue" if answer.fits else "lightgrey" for answer in answers]
figure, axes = plt.subplots(figsize=(6, 3))
places = np.arange(len(targets))
axes.bar(places, taken, color="tab:orange", label="taken already")
axes.bar(places, targets, bottom=taken, color=colours, label="one more run")
axes.axhline(limit, color="black", linestyle="--", label="granted")
axes.set_xticks(places, [f"{target:g}" for target in targets])
axes.set(xlabel="epsilon of the new run", ylabel="epsilon of the data set")
axes.set_ylim(0, 1.8 * limit)
_ = axes.legend(loc="upper center", ncols=3)
