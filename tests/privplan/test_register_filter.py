"""A register that adds up by a Renyi filter: what it saves, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from privplan import canonical, register, register_filter, renyi
from privplan.budget import Adjacency, PrivacyBudget
from privplan.errors import (
    BudgetExceededError,
    IntegrityError,
    ParameterError,
    PolicyError,
    PrivplanError,
)
from privplan.events import ComposedEvent
from privplan.register import Register
from privplan.register_run import Charge, settle
from tests.privplan import registers as make

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made():
    return make.plan(epsilon=1.0, steps=20)


@pytest.fixture
def path(tmp_path):
    return make.begun(tmp_path, epsilon=3.2, composition="rdp-filter")


def taken(path):
    return register.read(path).tally.data_sets["digits"]


def fill(path, made):
    """Reserve runs of one plan until one is refused; return how many fit."""
    with Register.open(path) as book:
        for number in range(50):
            try:
                book.reserve(make.variant(made, number), make.DATA)
            except BudgetExceededError as error:
                return number, error
    raise AssertionError("nothing was refused")


def test_more_runs_fit_than_their_epsilons_would_allow(path, made):
    """Three runs of epsilon 1 fit into 3.2 by adding; the filter admits more."""
    many, _ = fill(path, made)
    found = taken(path)
    assert many > 3
    assert found.added[0] > 3.2 >= found.taken[0]


def test_what_was_admitted_is_within_the_grant_by_a_second_route(path, made):
    """One committed order proves the grant for all of it, from scratch."""
    many, _ = fill(path, made)
    grant = taken(path).grant
    whole = ComposedEvent(events=(made.event,) * many)
    share = grant.delta / len(grant.orders)

    def proves(event):
        return renyi.epsilon_upper(event, delta=share, orders=grant.orders)

    assert proves(whole) <= grant.epsilon
    assert proves(ComposedEvent(events=(made.event,) * (many + 1))) > grant.epsilon


def test_a_refusal_says_what_is_spent_asked_and_allowed_and_three_ways_out(path, made):
    _, error = fill(path, made)
    assert "of 3.2 by its rdp filter" in error.message
    assert "this asks for" in error.message
    assert "together" in error.message
    for way in ("plan with less", "budget settle", "--amend"):
        assert way in error.hint
    assert error.needed > error.target == 3.2


def test_the_orders_are_signed_and_cannot_change_once_runs_are_charged(path, made):
    """An order chosen after the results is chosen by the results."""
    key = make.signer(path.parent)
    assert len(taken(path).grant.orders) == 5
    with Register.open(path) as book:
        book.reserve(made, make.DATA)
        for changed in ({"orders": (9.0,)}, {"composition": "basic"}):
            terms = {"composition": "rdp-filter", "amend": True} | changed
            with pytest.raises(PolicyError, match="composition"):
                book.grant(make.request(epsilon=9.0, **terms), key)
        same = taken(path).grant.orders
        book.grant(
            make.request(
                epsilon=9.0, composition="rdp-filter", orders=same, amend=True
            ),
            key,
        )
    assert taken(path).grant.epsilon == 9.0


def test_a_run_that_ended_early_is_charged_for_its_steps_alone(path, made):
    """A sum of divergences may stop whenever it likes: no second delta is paid."""
    charge = Charge(register=path)
    place = make.run_of(path.parent / "run", made, charge)
    whole = taken(path).taken[0]
    make.train(place, made, made.private_phases[0].name, 5)
    settle(place, charge)
    assert 0 < taken(path).taken[0] < whole
    other = make.run_of(path.parent / "other", make.variant(made, 2), charge)
    before = taken(path).taken[0]
    settle(other, charge)
    assert taken(path).taken[0] < before


def test_a_register_read_again_recomputes_the_filter(path, made, monkeypatch):
    """With half the divergences, the writer lets more in than the reader allows."""
    right = renyi.curve
    with monkeypatch.context() as patch:
        patch.setattr(
            renyi, "curve", lambda *a, **k: tuple(x / 2 for x in right(*a, **k))
        )
        fill(path, made)
    with pytest.raises(IntegrityError, match="more than was granted"):
        register.read(path)


def test_a_filter_is_refused_where_it_does_not_hold(tmp_path):
    budget = PrivacyBudget(
        target_epsilon=1.0, target_delta=1e-5, adjacency=Adjacency.REPLACE_ONE
    )
    with pytest.raises(PolicyError, match="replace-one"):
        register_filter.chosen_orders("rdp-filter", (), budget)
    usual = PrivacyBudget(target_epsilon=1.0, target_delta=1e-5)
    with pytest.raises(ParameterError, match="orders"):
        register_filter.chosen_orders("basic", (8.0,), usual)
    for orders in ((1.0,), (8.0, 8.0), (float("nan"),)):
        with pytest.raises(PrivplanError):
            register_filter.chosen_orders("rdp-filter", orders, usual)
    with pytest.raises(PolicyError, match="zcdp"):
        register_filter.chosen_orders("zcdp", (), usual)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 50.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12])
def test_the_default_orders_have_room_for_what_a_budget_is_granted(epsilon, delta):
    budget = PrivacyBudget(target_epsilon=epsilon, target_delta=delta)
    orders = register_filter.default_orders(budget)
    assert orders == tuple(sorted(set(orders)))
    assert register_filter.chosen_orders("rdp-filter", (), budget) == orders


def test_basic_stays_the_default_and_old_grants_are_still_read(tmp_path):
    path = make.begun(tmp_path)
    found = taken(path)
    assert (found.grant.composition, found.grant.orders) == ("basic", ())
    assert found.filter is None
    older = found.grant.model_dump(mode="json")
    del older["orders"]
    text = canonical.canonical_bytes(older)
    from privplan.fields import read_document

    assert read_document(type(found.grant), text, what="grant") == found.grant


CROWD = """
import os, sys
from pathlib import Path
from privplan.errors import BudgetExceededError
from privplan.register_run import Charge
from tests.privplan import registers as make

path, many = Path(sys.argv[1]), 8
made = make.plan(1.0)
gate, go = os.pipe()
children = []
for number in range(many):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(gate, 1)  # all start when the gate falls
        try:
            Charge(register=path).reserve(make.variant(made, number), make.DATA)
        except BudgetExceededError:
            os._exit(3)
        os._exit(0)
    children.append(child)
os.close(go)
codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
print(sorted(codes))
"""


def test_eight_processes_at_once_never_pass_the_filter(tmp_path, made):
    """As many fit at once as fit one after the other."""
    alone = make.begun(tmp_path, epsilon=2.4, composition="rdp-filter")
    many, _ = fill(alone, made)
    assert 0 < many < 8
    (tmp_path / "crowd").mkdir()
    path = make.begun(tmp_path / "crowd", epsilon=2.4, composition="rdp-filter")
    done = subprocess.run(
        [sys.executable, "-c", CROWD, str(path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str([0] * many + [3] * (8 - many)), done.stderr
    assert taken(path).taken[0] <= 2.4
