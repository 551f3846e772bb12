"""Registers, plans and runs that the tests of the register share; no test in here."""

from pathlib import Path

from privplan import keys, register_run
from privplan import plan as plans
from privplan.budget import PrivacyBudget
from privplan.events import NoOpEvent, PoissonSampledGaussianEvent
from privplan.keys import Role
from privplan.ledger import Allowance, Ledger
from privplan.planner import PlanRequest, Wishes, make_plan
from privplan.register import GrantRequest, Register

DATA, OTHER_DATA = "ab" * 32, "cd" * 32
STEP = PoissonSampledGaussianEvent(sample_rate=0.05, noise_multiplier=1.0)
FREE = NoOpEvent()


def signer(folder: Path, role: Role = Role.OFFICER, name: str | None = None):
    path = folder / f"{name or role.value}.key"
    if not path.exists():
        keys.new_key(path, role=role, passphrase=None)
    return keys.load_key(path)


def plan(epsilon: float = 1.0, steps: int = 20):
    return make_plan(
        PlanRequest(target_epsilon=epsilon, stages="", wishes=Wishes(steps=steps))
    )


def variant(made, number: int):
    """A plan with the same events and cost, and another digest."""
    return plans.seal(made.model_copy(update={"privplan_version": f"0.{number}"}))


def request(epsilon=4.0, delta=1e-2, **changes):
    budget = PrivacyBudget(target_epsilon=epsilon, target_delta=delta)
    fields = {"data_set": "digits", "data_digest": DATA, "budget": budget}
    return GrantRequest(**(fields | changes))


def begun(folder: Path, **granted) -> Path:
    """Begin a register with one grant."""
    path = folder / "register.sqlite"
    key = signer(folder)
    with Register.create(path, key.public) as book:
        book.grant(request(**granted), key)
    return path


def run_of(folder: Path, made, charge: register_run.Charge, data=DATA) -> Path:
    """Begin a run as the trainer's guard does; returns its ledger, closed."""
    folder.mkdir(exist_ok=True)
    path = folder / "ledger.sqlite"
    taken = charge.reserve(made, data)
    with ledger_of(path, made, data) as run:
        charge.begin(taken, run, path)
    return path


def ledger_of(path: Path, made, data=DATA) -> Ledger:
    return Ledger.create(
        path,
        plan_digest=made.digest,
        data_digest=data,
        code_digest="c" * 64,
        allowances=[
            Allowance(phase=p.name, event=p.event, steps=p.steps) for p in made.phases
        ],
    )


def train(path: Path, made, phase: str, steps: int, data=DATA) -> None:
    """Count steps in the ledger of a run, as training would."""
    with Ledger.resume(
        path, plan_digest=made.digest, data_digest=data, code_digest="c" * 64
    ) as run:
        run.reserve(phase, steps)
