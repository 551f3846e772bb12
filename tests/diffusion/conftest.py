"""A plan small enough to run in a test, on the embedded digits."""

import functools

import pytest

from diffusion.data import load_private
from privplan.plan_phases import query_phases
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.stages import Sharing

STEPS = 6


@pytest.fixture(scope="session")
def digits():
    return load_private("digits")


@pytest.fixture(scope="session")
def small_plan():
    return make_plan(
        PlanRequest(
            target_epsilon=3.0,
            stages="",
            wishes=Wishes(
                steps=STEPS, sample_rate=0.1, noise_multiplicity=2, synthetic_steps=3
            ),
        )
    )


_FLOWN = {}


@pytest.fixture
def flown_once(monkeypatch):
    """Try the same plan once a session: a preflight takes as long as a small run."""
    from diffusion import run

    fly = run.preflight

    def once(plan, options):
        key = (plan.digest, options.engine, options.device)
        if key not in _FLOWN:
            _FLOWN[key] = fly(plan, options)
        return _FLOWN[key]

    monkeypatch.setattr(run, "preflight", once)


DRAWN = "coarse=gaussian,context=private,cleaning=synthetic"


def _prepares(stages, wanted):
    words = ("synthetic", "public", "best", "syngen")
    named = not stages or any(word in stages for word in words)
    return named or wanted.get("pretraining") is not None


@functools.cache
def plan_for(stages, **wanted):
    """A plan of a few steps; `queries` and `public` go to the wishes."""
    wishes = Wishes(
        steps=wanted.pop("steps", 4),
        sample_rate=0.1,
        noise_multiplicity=2,
        synthetic_steps=3 if _prepares(stages, wanted) else None,
        queries=wanted.pop("queries", ()),
        public=wanted.pop("public", None),
    )
    return make_plan(
        PlanRequest(
            target_epsilon=3.0,
            stages=stages,
            wishes=wishes,
            training=TrainingWishes(**wanted),
        )
    )


@pytest.fixture(scope="session")
def small():
    """Makes small plans; the same request gives the same plan."""
    return plan_for


@pytest.fixture(scope="session")
def kinds():
    """One small plan of every kind a run must carry out, by name."""
    return {
        "sequential": plan_for("best"),
        "gated": plan_for(DRAWN, sharing=Sharing.GATED),
        "experts": plan_for(DRAWN, sharing=Sharing.EXPERTS),
        "mixture": plan_for("", sharing=Sharing.MIXTURE),
        "queries": plan_for(DRAWN, queries=(label_query(steps=2), count_query())),
        "untrained": plan_for("coarse=gaussian,context=gaussian,cleaning=gaussian"),
    }


def label_query(*, noise_multiplier=20.0, steps=1):
    return query_phases([f"labels:{noise_multiplier:g},{steps}"])[0]


def count_query(*, noise_multiplier=20.0):
    return query_phases([f"count:{noise_multiplier:g}"])[0]
