"""Approvals and policies: what must be signed before anything runs."""

import json

import pytest

from privplan import accounting, approval, moments, policy, signing
from privplan import plan as plans
from privplan.errors import BudgetExceededError, DocumentError, PolicyError
from privplan.events import GaussianEvent
from privplan.keys import Role
from privplan.trust import Trust
from tests.privplan import registers as make

NOW = moments.now()


@pytest.fixture(scope="module")
def made():
    return make.plan(epsilon=2.0)


@pytest.fixture
def ada(tmp_path):
    return make.signer(tmp_path)


def test_an_approval_is_of_one_plan_at_the_cost_its_events_have(made, ada):
    said, text = approval.approve(made, ada, note="for the digits")
    cost = accounting.epsilon(made.event, delta=made.budget.target_delta)
    assert cost.lower <= said.epsilon <= made.budget.target_epsilon
    known = Trust.of([ada.public])
    assert approval.check(text, made, known, now=NOW) == said
    with pytest.raises(PolicyError, match="about another plan"):
        approval.check(text, make.variant(made, 1), known, now=NOW)


def test_a_plan_that_lies_about_its_cost_is_not_approved(made, ada):
    """The officer signs what the events cost, not what the plan says they do."""
    private = made.private_phases[0]
    louder = private.model_copy(update={"event": GaussianEvent(noise_multiplier=0.01)})
    phases = tuple(louder if p == private else p for p in made.phases)
    liar = plans.seal(made.model_copy(update={"phases": phases}))
    with pytest.raises(BudgetExceededError, match="would cost"):
        approval.approve(liar, ada)


def test_only_an_officer_approves(made, ada, tmp_path):
    trainer = make.signer(tmp_path, Role.TRAINER)
    with pytest.raises(PolicyError, match="only an officer"):
        approval.approve(made, trainer)
    _, text = approval.approve(made, ada)
    payload = json.loads(text)["payload"]
    statement = signing.open_envelope(text, trusted=[ada.public]).statement
    forged = signing.sign(statement, trainer)
    assert json.loads(forged)["payload"] == payload
    both = Trust.of([ada.public, trainer.public])
    with pytest.raises(PolicyError, match="has the role trainer"):
        approval.check(forged, made, both, now=NOW)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-20],
        lambda text: text.replace(b"payload", b"pay1oad", 1),
        lambda text: b"{}",
        lambda text: b"",
    ],
)
def test_a_spoiled_approval_is_none(made, ada, spoil):
    _, text = approval.approve(made, ada)
    with pytest.raises(PolicyError, match="no approval of this plan counts"):
        approval.check(spoil(text), made, Trust.of([ada.public]), now=NOW)


def test_an_approval_ends_on_its_day(made, ada):
    _, text = approval.approve(made, ada, expires="2001-01-01")
    with pytest.raises(PolicyError, match="ended on 2001-01-01"):
        approval.check(text, made, Trust.of([ada.public]), now=NOW)


def test_a_signed_report_is_no_approval(made, ada):
    statement = signing.statement(
        subjects={}, predicate_type="https://x/y", predicate={}
    )
    text = signing.sign(statement, ada)
    with pytest.raises(PolicyError, match="another kind of statement"):
        approval.check(text, made, Trust.of([ada.public]), now=NOW)


def written(folder, text):
    path = folder / "policy.toml"
    path.write_text('format = "privplan-policy/1"\n' + text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_epsilon = 1.0", "allows 1"),
        ("max_epsilon = 1", "allows 1"),
        ("max_delta_factor = 0.1", "smaller|delta"),
        ("min_records = 5000", "5,000"),
        ('adjacency = ["zero-out"]', "zero-out"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused_and_told_which(
    made, tmp_path, text, says
):
    rules = policy.read(written(tmp_path, text))
    with pytest.raises(PolicyError, match=says) as refused:
        policy.check_plan(rules, made)
    assert refused.value.exit_code == 5


def test_a_plan_at_the_edge_of_every_rule_is_allowed(made, tmp_path):
    text = (
        "max_epsilon = 2.0\nmax_delta_factor = 0.9\nmin_records = 1437\n"
        'adjacency = ["add-or-remove-one", "zero-out"]'
    )
    rules = policy.read(written(tmp_path, text))
    policy.check_run(rules, made, approval=None, registered=False)


@pytest.mark.parametrize(
    "text",
    [
        "max_epsilon = nan",
        "max_epsilon = inf",
        "max_epsilon = -1.0",
        'max_epsilon = "8"',
        "max_delta_factor = 1.5",
        "min_records = 0",
        "require_approval = 1",
        'adjacency = ["close"]',
        "maximum_epsilon = 8.0",
        "max_epsilon = ",
        'format = "privplan-policy/1"',
    ],
)
def test_a_policy_that_says_what_no_policy_says_is_refused_whole(tmp_path, text):
    """A misspelt rule that was skipped would be a rule that nobody keeps."""
    with pytest.raises(DocumentError, match="is not a policy"):
        policy.read(written(tmp_path, text))


def test_a_policy_can_require_an_officer_and_a_register(made, ada, tmp_path):
    rules = policy.read(
        written(
            tmp_path,
            "require_approval = true\nrequire_register = true\n"
            'officers = ["officer.pub"]',
        )
    )
    _, text = approval.approve(made, ada)
    with pytest.raises(PolicyError, match="requires a register"):
        policy.check_run(rules, made, approval=text, registered=False)
    with pytest.raises(PolicyError, match="has none beside it"):
        policy.check_run(rules, made, approval=None, registered=True)
    policy.check_run(rules, made, approval=text, registered=True)


def test_a_policy_that_names_no_officer_takes_nobody_for_one(made, ada, tmp_path):
    """Else any key in an envelope would be an officer's."""
    rules = policy.read(written(tmp_path, "require_approval = true"))
    _, text = approval.approve(made, ada)
    with pytest.raises(PolicyError, match="nowhere who is an officer"):
        policy.check_run(rules, made, approval=text, registered=False)
    known = Trust.of([ada.public])
    policy.check_run(rules, made, approval=text, registered=False, trust=known)
