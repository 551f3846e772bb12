"""A data set's budget over many runs: what is granted is never passed."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import accounting, ledger, moments, register, register_costs, register_run
from privplan.budget import Adjacency, PrivacyBudget, PrivacyUnit
from privplan.errors import BudgetExceededError, ParameterError, PolicyError
from privplan.events import ComposedEvent, GaussianEvent, SelfComposedEvent
from privplan.keys import Role
from privplan.ledger import Ledger
from privplan.ledger_lock import lock_path
from privplan.register import Register
from privplan.register_data_sets import DataSet, Reservation
from privplan.register_entries import (
    Reserve,
    ReservedBudget,
    ReservedPhase,
    read_entry,
)
from privplan.register_run import Charge
from tests.privplan import registers as make

NEAR = Adjacency.ADD_OR_REMOVE_ONE


@pytest.fixture(scope="module")
def made():
    return make.plan(epsilon=1.5)


@pytest.fixture
def path(tmp_path):
    return make.begun(tmp_path)


def test_runs_take_what_the_accountant_says_until_nothing_is_left(path, made):
    """Two routes: the register's sum, and the accountant asked once more by hand."""
    cost = accounting.epsilon(made.event, delta=made.budget.target_delta).upper
    for runs in (1, 2):
        charge = Charge(register=path)
        make.run_of(path.parent / f"run{runs}", made, charge)
        left = register.left(path, "digits")
        assert left[0] == pytest.approx(4 - runs * cost, abs=1e-12)
        assert left[1] == pytest.approx(1e-2 - runs * made.budget.target_delta)
    with pytest.raises(BudgetExceededError, match=r"spent epsilon .* of 4.*asks"):
        make.run_of(path.parent / "run3", made, charge)
    assert register.left(path, "digits") == left


def test_a_refusal_names_what_is_spent_asked_and_allowed_and_three_ways_out(path, made):
    """An officer who is told 'no' alone will look for a way around."""
    with Register.open(path) as book:
        book.grant(make.request(epsilon=1.0, amend=True), make.signer(path.parent))
        with pytest.raises(BudgetExceededError) as refused:
            book.reserve(made, make.DATA)
    assert refused.value.exit_code == 3
    assert "spent epsilon 0 of 1, and this asks for 1.5" in refused.value.message
    for way in ("plan again with --eps 1", "budget settle", "budget grant --amend"):
        assert way in refused.value.hint


def test_delta_runs_out_as_epsilon_does(path, made):
    with Register.open(path) as book:
        book.grant(
            make.request(epsilon=99.0, delta=5e-4, amend=True),
            make.signer(path.parent),
        )
        first = book.reserve(made, make.DATA).entry
        assert first.delta == made.budget.target_delta
        other = make.plan(epsilon=1.4)
        with pytest.raises(BudgetExceededError, match="spent delta"):
            book.reserve(other, make.DATA)


def test_halves_of_a_budget_are_the_budget(path):
    """0.1 + 0.2 is more than 0.3 in floats; an officer means the decimals."""
    with Register.open(path) as book:
        grant = book.grant(
            make.request(epsilon=0.3, delta=3e-7, amend=True), make.signer(path.parent)
        )
    data_set = DataSet(name="x", grants=[(grant, "")])
    head = ledger.LedgerHead(sequence=1, hash="0" * 64)
    for name, epsilon, delta in (("a", 0.1, 1e-7), ("b", 0.2, 2e-7)):
        assert data_set.admits(epsilon, delta)
        entry = Reserve.model_construct(reservation=name, epsilon=epsilon, delta=delta)
        data_set.take(Reservation(entry=entry, head=head))
    assert data_set.left == (0.0, 0.0)
    assert not data_set.admits(5e-324, 0.0)
    assert not data_set.admits(math.nan, 0.0)
    assert not data_set.admits(0.0, math.inf)


@given(st.lists(st.floats(1e-9, 1e3), max_size=6), st.floats(1e-9, 1e3))
def test_what_is_taken_and_left_never_adds_up_to_more_than_was_granted(costs, granted):
    """A rounding in the wrong direction would be spent by somebody, in the end."""
    data_set = DataSet(name="x", grants=[(_numbers(granted), "")])
    head = ledger.LedgerHead(sequence=1, hash="0" * 64)
    for number, cost in enumerate(costs):
        if data_set.admits(cost, 0.0):
            entry = Reserve.model_construct(
                reservation=str(number), epsilon=cost, delta=0.0
            )
            data_set.take(Reservation(entry=entry, head=head))
    exact = sum(
        (Fraction(repr(r.entry.epsilon)) for r in data_set.reservations.values()),
        Fraction(),
    )
    assert exact + Fraction(repr(data_set.left[0])) <= Fraction(repr(granted))
    assert Fraction(repr(data_set.taken[0])) >= exact


def _numbers(epsilon):
    from privplan.grants import Grant

    return Grant.model_construct(composition="basic", epsilon=epsilon, delta=0.5)


def test_data_the_register_does_not_know_are_refused_and_not_free(path, made):
    """A resized copy of the records is the same people; it must not start at zero."""
    with Register.open(path) as book, pytest.raises(PolicyError, match="not in the"):
        book.reserve(made, make.OTHER_DATA)
    assert register.left(path, "digits") == (4.0, 1e-2)


def test_one_data_set_has_one_budget_whatever_it_is_called(path):
    key = make.signer(path.parent)
    with Register.open(path) as book:
        with pytest.raises(PolicyError, match="already, as data set 'digits'"):
            book.grant(make.request(data_set="ciphers"), key)
        with pytest.raises(PolicyError, match="has a grant already"):
            book.grant(make.request(epsilon=9.0), key)
        book.grant(make.request(data_digest=make.OTHER_DATA, amend=True), key)
        other = book.reserve(make.plan(), make.OTHER_DATA)
    assert other.entry.data_set == "digits"
    assert register.left(path, "digits")[0] < 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adjacency": NEAR, "unit": PrivacyUnit(name="patient")}, "patient"),
        ({"adjacency": NEAR, "unit": PrivacyUnit(max_records=3)}, "3 records"),
        ({"adjacency": Adjacency.ZERO_OUT}, "zero-out"),
    ],
)
def test_a_plan_with_another_promise_does_not_fit_the_grant(path, made, changes, says):
    """Adding epsilons of two different promises gives a number about nothing."""
    budget = PrivacyBudget(target_epsilon=4.0, target_delta=1e-2, **changes)
    with Register.open(path) as book:
        book.grant(make.request(budget=budget, amend=True), make.signer(path.parent))
        with pytest.raises(PolicyError, match=says):
            book.reserve(made, make.DATA)


def test_a_grant_ends_on_its_day(path, made):
    key = make.signer(path.parent)
    with Register.open(path) as book:
        book.grant(make.request(expires="2001-01-01", amend=True), key)
        with pytest.raises(PolicyError, match="ended on 2001-01-01"):
            book.reserve(made, make.DATA)
        with pytest.raises(ParameterError, match="not a day"):
            book.grant(make.request(expires="soon", amend=True), key)
        book.grant(make.request(expires="2999-01-01", amend=True), key)
        book.reserve(made, make.DATA)


def test_a_trainer_cannot_grant_and_a_strange_officer_cannot_either(path, tmp_path):
    (tmp_path / "x").mkdir()
    strange = make.signer(tmp_path / "x")
    before = path.read_bytes()
    with Register.open(path) as book:
        with pytest.raises(PolicyError, match="only an officer"):
            book.grant(make.request(amend=True), make.signer(tmp_path, Role.TRAINER))
        with pytest.raises(PolicyError, match="not among the trusted keys"):
            book.grant(make.request(amend=True), strange)
    assert path.read_bytes() == before
    with pytest.raises(PolicyError, match="begins with an officer's"):
        Register.create(tmp_path / "y", make.signer(tmp_path, Role.TRAINER).public)
    assert not (tmp_path / "y").exists()


def test_a_lowered_grant_stops_the_next_run_and_gives_nothing_to_the_last(path, made):
    key = make.signer(path.parent)
    with Register.open(path) as book:
        book.reserve(made, make.DATA)
        book.grant(make.request(epsilon=0.5, amend=True), key)
        with pytest.raises(BudgetExceededError):
            book.reserve(make.plan(epsilon=0.1), make.DATA)
    assert register.left(path, "digits")[0] == 0


def test_how_runs_add_up_cannot_change_once_they_do(path, made):
    """Else the better of two proofs is chosen after the results were seen."""
    key = make.signer(path.parent)
    with Register.open(path) as book:
        book.reserve(made, make.DATA)
        with pytest.raises(PolicyError, match="composition"):
            book.grant(make.request(composition="rdp-filter", amend=True), key)


def test_what_a_planner_is_told_is_what_a_reservation_would_say(path, made):
    register.check_room(path, "digits", made)
    bigger = make.plan(epsilon=4.001)
    with pytest.raises(BudgetExceededError, match=r"of 4, and this asks for 4\.001"):
        register.check_room(path, "digits", bigger)
    with pytest.raises(PolicyError, match="knows no data set 'people'"):
        register.left(path, "people")


# --- runs -----------------------------------------------------------------------------


def test_a_crash_between_reserving_and_beginning_costs_nothing_twice(path, made):
    """The process that comes back takes up the reservation that nobody began."""
    charge = Charge(register=path)
    charge.reserve(made, make.DATA)
    left = register.left(path, "digits")
    make.run_of(path.parent / "run", made, charge)
    assert register.left(path, "digits") == left
    make.run_of(path.parent / "other", made, charge)
    assert register.left(path, "digits")[0] < left[0]


def test_one_reservation_pays_for_one_run(path, made, tmp_path):
    """Two processes may both find it; only one of them may touch the data."""
    charge = Charge(register=path)
    first, second = charge.reserve(made, make.DATA), charge.reserve(made, make.DATA)
    assert first.entry.reservation == second.entry.reservation
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    with make.ledger_of(one, made) as run, make.ledger_of(two, made) as rival:
        charge.begin(first, run, one)
        with pytest.raises(PolicyError, match="taken by another run"):
            charge.begin(second, rival, two)


def test_a_run_that_goes_on_needs_its_register_and_pays_once(path, made):
    charge = Charge(register=path)
    run = make.run_of(path.parent / "run", made, charge)
    left = register.left(path, "digits")
    content = ledger.read(run)
    assert charge.take_up(made, make.DATA, content) is None
    assert register.left(path, "digits") == left
    register_run.check_resume(content, charge)
    with pytest.raises(PolicyError, match="none was given"):
        register_run.check_resume(content, None)


def test_a_run_that_read_records_without_the_register_cannot_be_charged_later(
    path, made, tmp_path
):
    run = tmp_path / "free.sqlite"
    make.ledger_of(run, made).close()
    charge = Charge(register=path)
    assert charge.take_up(made, make.DATA, ledger.read(run)) is not None
    make.train(run, made, "private", 3)
    with pytest.raises(PolicyError, match="began without a reservation"):
        charge.take_up(made, make.DATA, ledger.read(run))


def test_an_early_end_costs_what_its_ledger_counted_and_not_less(path, made):
    """Two routes: the register's settlement, and the accountant on the ledger."""
    charge = Charge(register=path, refundable=True)
    run = make.run_of(path.parent / "run", made, charge)
    make.train(run, made, "private", 4)
    delta = made.budget.target_delta
    assert register.left(path, "digits")[1] == pytest.approx(1e-2 - 2 * delta)
    settled = register_run.settle(run, charge).settled
    content = ledger.read(run)
    naive = accounting.epsilon(content.spent_event(), delta=delta).upper
    ends = math.prod(p.steps + 1 for p in made.private_phases)
    careful = accounting.epsilon(content.spent_event(), delta=delta / ends).upper
    assert settled.counted["private"] == content.counted("private") == 4
    assert naive < settled.epsilon == pytest.approx(careful, rel=1e-9)
    assert settled.epsilon < made.budget.target_epsilon
    assert register.left(path, "digits")[0] == pytest.approx(4 - careful, rel=1e-9)


def test_without_refundable_a_failed_run_keeps_its_whole_cost(path, made):
    charge = Charge(register=path)
    run = make.run_of(path.parent / "run", made, charge)
    make.train(run, made, "private", 1)
    left = register.left(path, "digits")
    reserved = register_run.settle(run, charge)
    assert register.left(path, "digits") == left
    assert register_run.refund(reserved) == (0.0, 0.0)


def test_a_run_that_began_no_private_step_costs_nothing(path, made):
    charge = Charge(register=path)
    run = make.run_of(path.parent / "run", made, charge)
    make.train(run, made, "synthetic", 2)
    register_run.settle(run, charge)
    assert register.left(path, "digits") == (4.0, 1e-2)


def test_a_settled_run_is_over_for_whoever_still_trains(path, made):
    """Steps begun after the refund would be paid by nobody."""
    charge = Charge(register=path, refundable=True)
    run = make.run_of(path.parent / "run", made, charge)
    with Ledger.resume(
        run, plan_digest=made.digest, data_digest=make.DATA, code_digest="c" * 64
    ) as training:
        training.reserve("private", 2)
        with pytest.raises(PolicyError, match="another process is writing"):
            register_run.settle(run, charge)
        lock_path(run).unlink()  # lost: fencing alone remains
        register_run.settle(run, charge)
        with pytest.raises(PolicyError, match="another process has taken up"):
            training.reserve("private", 1)
    content = ledger.read(run)
    for pays in (charge, None):
        with pytest.raises(PolicyError, match="was settled"):
            register_run.check_resume(content, pays)
    with pytest.raises(PolicyError, match="settled"):
        charge.take_up(made, make.DATA, content)
    with pytest.raises(PolicyError, match="is over"):
        register_run.settle(run, charge)


def test_a_settlement_that_was_cut_off_half_way_can_be_done_again(path, made):
    """The ledger is fenced first; the register may still not know of it."""
    from privplan import ledger_fence

    charge = Charge(register=path, refundable=True)
    run = make.run_of(path.parent / "run", made, charge)
    make.train(run, made, "private", 4)
    with Register.open(path) as book:
        head = book.of_ledger(ledger.read(run)).head.hash
    fenced = ledger_fence.end(run, register_run.SETTLEMENT, head)
    assert ledger_fence.end(run, register_run.SETTLEMENT, head).head == fenced.head
    assert register_run.settle(run, charge).settled.counted["private"] == 4


def test_the_ledger_of_another_run_of_the_same_plan_is_no_evidence(
    path, made, tmp_path
):
    """Else one would train to the end and show a fresh ledger with one step."""
    charge = Charge(register=path, refundable=True)
    make.run_of(path.parent / "run", made, charge)
    fresh = tmp_path / "fresh.sqlite"
    make.ledger_of(fresh, made).close()
    before, untouched = path.read_bytes(), fresh.read_bytes()
    with pytest.raises(PolicyError, match="has no reservation"):
        register_run.settle(fresh, charge)
    assert (path.read_bytes(), fresh.read_bytes()) == (before, untouched)


# --- why an early end is not charged at the plan's own delta --------------------------


def test_stopping_when_lucky_beats_the_naive_refund_and_not_ours():
    """An analyst stops at the first step whose loss is above what a stop there costs.

    The delta of his whole game, by simulation: with each end charged at delta alone it
    is above the delta paid; at delta / K, with the delta of full runs, it is within.
    """
    steps, delta, noise = 40, 0.01, 8.0
    step = GaussianEvent(noise_multiplier=noise)

    def cost(count, at):
        event = SelfComposedEvent(event=step, count=count)
        return accounting.epsilon(event, delta=at).upper

    def delta_of_game(at):
        full = cost(steps, delta)
        ends = [min(cost(t, at), full) for t in range(1, steps + 1)]
        early = np.array(ends) < full
        draws = np.random.default_rng(3).standard_normal((200_000, steps))
        times = np.arange(1, steps + 1)
        losses = draws.cumsum(axis=1) / noise + times / (2 * noise**2)
        lucky = (losses > np.array(ends)) & early
        stop = np.where(lucky.any(axis=1), lucky.argmax(axis=1), steps - 1)
        loss = np.take_along_axis(losses, stop[:, None], axis=1)[:, 0]
        paid = np.where(lucky.any(axis=1), np.array(ends)[stop], full)
        return np.clip(-np.expm1(paid - loss), 0, None).mean()

    # 200 000 games: the standard error of both figures is below 2e-4
    assert delta_of_game(delta) > 1.2 * delta
    assert delta_of_game(delta / (steps + 1)) < 1.1 * delta


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 30), st.integers(0, 12), st.booleans())
def test_more_steps_never_cost_less_and_never_more_than_the_plan(first, second, pay):
    """A settlement that fell with the count would reward whoever trained on."""
    entry = Reserve(
        kind="reserve", sequence=3, reservation="r", data_set="d",
        plan_digest="0" * 64, refundable=pay, epsilon=1.0, delta=1.0,
        time=moments.text(moments.now()),
        budget=ReservedBudget(
            target_epsilon=9.0, target_delta=1e-5, adjacency=NEAR, unit="record",
            max_records_per_unit=1,
        ),
        phases=(
            ReservedPhase(phase="query", event=GaussianEvent(noise_multiplier=6.0),
                          steps=30),
            ReservedPhase(phase="sgd", event=make.STEP, steps=12),
        ),
    )  # fmt: skip
    whole = register_costs.of(entry)
    found = register_costs.realised(entry, {"query": first, "sgd": second})
    more = register_costs.realised(
        entry, {"query": min(first + 1, 30), "sgd": min(second + 1, 12)}
    )
    assert found.least <= found.epsilon <= more.epsilon * (1 + 1e-9)
    assert more.epsilon <= whole.epsilon
    assert (found.delta == 0) == (first == second == 0)
    counted = {"query": first, "sgd": second}
    spent = ComposedEvent(
        events=tuple(
            SelfComposedEvent(event=p.event, count=counted[p.phase])
            for p in entry.phases
            if counted[p.phase]
        )
    )
    assert found.epsilon >= accounting.epsilon(spent, delta=1e-5).lower


def test_an_entry_is_read_back_as_it_was_written(path):
    """A number that came back changed would break the chain of an honest register."""
    for head, entry in register.read(path).entries:
        text = entry.model_dump_json().encode()
        assert read_entry(text) == entry
        assert entry.sequence == head.sequence
