"""`privplan preflight` and `privplan audit`, and verifying what they sign."""

import json

import pytest

from diffusion import trainer
from privplan import keys
from privplan import plan as plans
from privplan.planner import PlanRequest, Wishes, make_plan


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(
        PlanRequest(
            target_epsilon=3.0, wishes=Wishes(steps=4, sample_rate=0.1,
                                              noise_multiplicity=1)
        )
    )  # fmt: skip
    plans.write(plan, tmp_path / "plan.json")
    keys.new_key(tmp_path / "trainer.key", role=keys.Role.TRAINER, passphrase=None)
    return tmp_path


def test_a_preflight_is_a_table_of_eighty_columns_and_touches_nothing(cli, place):
    before = sorted(place.iterdir())
    code, out, said = cli("preflight")
    assert code == 0
    assert "gradients" in out
    assert "nothing was counted" in said
    assert max(map(len, out.splitlines())) <= 80
    assert sorted(place.iterdir()) == before


def test_a_preflight_that_fails_is_refused_in_two_lines(refused, place, monkeypatch):
    real = trainer.noisy_sum

    def less(total, *, noise_multiplier, **named):
        return real(total, noise_multiplier=0.9 * noise_multiplier, **named)

    monkeypatch.setattr(trainer, "noisy_sum", less)
    code, message = refused("preflight")
    assert code == 5
    assert "noise" in message


def test_a_conformance_audit_is_signed_and_verifies(cli, place):
    code, out, said = cli("audit", "--key", "trainer.key", "--coordinates", "20000")
    assert code == 0
    assert "no violation found" in out
    assert "privplan verify audit-conformance.json" in said
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = cli("verify", "audit-conformance.json", "--key", "trainer.pub")
    assert code == 0
    assert out.rstrip().endswith("VERIFIED")
    _, out, _ = cli("verify", "audit-conformance.json", "--json")
    assert [step["outcome"] for step in json.loads(out)["steps"]] == ["passed"] * 6


def test_less_noise_ends_an_audit_with_exit_code_four(cli, place, monkeypatch):
    real = trainer.noisy_sum

    def less(total, *, noise_multiplier, **named):
        return real(total, noise_multiplier=0.1 * noise_multiplier, **named)

    monkeypatch.setattr(trainer, "noisy_sum", less)
    code, out, _ = cli("audit", "--key", "trainer.key", "--kind", "one-run",
                       "--canaries", "600", "--engine", "folded", "--json")  # fmt: skip
    assert code == 4
    found = json.loads(out)
    assert found["violation"]
    (bound,) = found["audit"]["bounds"]
    assert float(bound["epsilon_lower"]) > float(bound["claimed_epsilon"])
    code, out, _ = cli("verify", "audit-one-run.json", "--key", "trainer.pub")
    assert code == 4
    assert "NOT VERIFIED" in out


def test_a_wrong_number_or_a_missing_key_is_refused(refused, place):
    assert refused("audit", "--key", "nowhere.key")[0] == 1
    wrong = ("audit", "--key", "trainer.key", "--kind", "one-run", "--guesses", "3")
    assert refused(*wrong)[0] == 2
