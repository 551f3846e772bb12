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
# # 1. From a budget to a plan
#
# What does epsilon 1 buy on 1,437 pictures of digits? A plan is made from numbers that you
# *declare*: how many records, of what size, and how much they may lose. No picture is
# opened here. What you see is the same object that `privplan plan` shows.

# %%
from privplan import Budget, PlanRequest, calibrate, epsilon, make_plan

plan = make_plan(PlanRequest(target_epsilon=1.0, stages="best"))
plan

# %% [markdown]
# One row is one phase. *eps alone* is what it would cost if nothing else were done, *so
# far* is everything up to it, *back* is what you would save by leaving it out. The prices
# do not add up to the total: noise drawn for one phase also hides what the others did.
#
# The synthetic phase costs nothing. It learns from pictures that a program draws.

# %%
plan.plot()

# %% [markdown]
# Left: the prices. Middle: epsilon while the run goes on; it never passes the dashed line.
# Right: the same run has many pairs of epsilon and delta at once, and the plan names one.
#
# ## What an attacker could do at most
# Somebody sees everything the run ever releases and wants to know whether your picture was
# in it. They must accept false alarms: taking a stranger for a member. The curve is the
# most that anybody can find, whatever else they know. On the diagonal they toss a coin.

# %%
import matplotlib.pyplot as plt
import numpy as np

from privplan import tradeoff

alarms = np.linspace(0, 1, 51)
curves = {
    target: tradeoff.curve(
        make_plan(PlanRequest(target_epsilon=target, stages="best")).event,
        alarms,
        tolerance=1e-3,
    )
    for target in (0.25, 1.0, 4.0)
}

# %%
figure, axes = plt.subplots(figsize=(5, 4))
for target, curve in reversed(curves.items()):
    axes.plot(alarms, curve.true_positive_rates(alarms), label=f"epsilon {target:g}")
axes.plot(alarms, alarms, color="grey", linestyle=":", label="a coin toss")
axes.set(xlabel="false alarms accepted", ylabel="members found, at most")
axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
axes.grid(alpha=0.3)
_ = axes.legend(loc="lower right")

# %% [markdown]
# ## The accountant alone
# You need no plan to ask for a price. A phase is a sample rate, a noise multiplier and a
# number of steps; several phases are priced together. The answer is an interval that is
# certain to hold the truth, and only its upper end is ever claimed.

# %%
found = epsilon(["sgd:0.25,7.4,100", "gaussian:12"], delta=1e-4)
print(f"between {found.lower:.12f} and {found.upper:.12f}")

# %% [markdown]
# Put a question mark where you want the answer: how much noise, how many steps, or how
# often each record may be looked at.

# %%
budget = Budget(target_epsilon=1.0, target_delta=1e-4)
print("noise:", calibrate(["sgd:0.25,?,100"], budget=budget).value)
print("steps:", calibrate(["sgd:0.25,8,?"], budget=budget).value)
print("rate: ", calibrate(["sgd:?,8,100"], budget=budget).value)

# %% [markdown]
# ## How much more would a larger budget buy?
# Twice the epsilon nearly halves the noise that a step needs. Mind what it does to the
# curve above, though: the members found rise with epsilon, and nothing takes them back.

# %%
targets = np.geomspace(0.25, 16, 13)
budgets = [Budget(target_epsilon=target, target_delta=1e-4) for target in targets]
noise = [calibrate(["sgd:0.25,?,100"], budget=one).value for one in budgets]

# %%
figure, axes = plt.subplots(figsize=(6, 3.2))
axes.loglog(targets, noise, marker="o")
axes.set(xlabel="epsilon over 100 steps", ylabel="noise multiplier of a step")
axes.set_xticks([0.25, 0.5, 1, 2, 4, 8, 16], ["1/4", "1/2", "1", "2", "4", "8", "16"])
axes.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
axes.minorticks_off()
axes.grid(alpha=0.3)

# %% [markdown]
# ## When the answer is no
# A budget that cannot be met is refused before anything is read. The message says which
# number was too large and what to do.

# %%
from privplan.errors import PrivplanError

try:
    calibrate(["sgd:0.25,?,100", "gaussian:0.5"], budget=budget)
except PrivplanError as error:
    print(error.message)
    print("To fix:", error.hint)

# %% [markdown]
# To carry a plan out, save it and train: the next notebook does.
