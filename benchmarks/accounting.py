"""Our accountant beside the others: time, memory, tightness, and who is wrong.

    python benchmarks/accounting.py            every case, every peer (about 20 minutes)
    python benchmarks/accounting.py --quick    four cases, 20 CPU seconds a question

Each question is asked in a process of its own, because peers keep caches, print, and
sometimes never answer. Times are CPU seconds after a first, easy question that imports
what is needed (ours a mean of 50, peers once); memory is what the peak grew by since
then. "LOW" marks an epsilon, "FEW" a noise multiplier, that is on the unsafe side of
our certified bracket.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from privplan import accounting, calibration
from privplan.budget import PrivacyBudget
from privplan.events import Event, PoissonSampledGaussianEvent, SelfComposedEvent


@dataclass(frozen=True)
class Case:
    """A plan: sample rate, steps, delta, and the epsilon it aims at."""

    rate: float
    steps: int
    delta: float
    epsilon: float

    def event(self, noise: float) -> Event:
        """Return what the plan does with this noise multiplier."""
        step = PoissonSampledGaussianEvent(
            sample_rate=self.rate, noise_multiplier=noise
        )
        return SelfComposedEvent(event=step, count=self.steps)

    def noise(self) -> float:
        """Return the least noise multiplier, by our calibration."""
        budget = PrivacyBudget(target_epsilon=self.epsilon, target_delta=self.delta)
        return calibration.noise_multiplier(self.event, budget=budget)


CASES = {
    "mnist_e0.2": Case(4096 / 60000, 4394, 1e-5, 0.2),
    "mnist_e1": Case(4096 / 60000, 4394, 1e-5, 1),
    "mnist_e10": Case(4096 / 60000, 4394, 1e-5, 10),
    "cifar_e1": Case(16384 / 50000, 200, 1e-5, 1),
    "cifar_e10": Case(16384 / 50000, 200, 1e-5, 10),
    "tiny_e1": Case(128 / 1797, 702, 1e-4, 1),
    "tiny_e0.05": Case(64 / 1797, 1000, 1e-5, 0.05),
    "big_e3": Case(1e-3, 10**5, 1e-7, 3),
    "long_e5": Case(1e-3, 10**6, 1e-9, 5),
    "lm_e8": Case(1e-4, 10**5, 1e-10, 8),
    "higheps_50": Case(1e-2, 10**5, 1e-6, 50),
    "smalldelta": Case(1e-2, 2 * 10**4, 1e-12, 2),
    "lownoise": Case(1e-4, 10**6, 1e-9, 8),
}
QUICK = ("mnist_e1", "cifar_e10", "tiny_e1", "smalldelta")


def ours_epsilon(case: Case, noise: float) -> float:
    """Ask our accountant for its upper end."""
    return accounting.epsilon(case.event(noise), delta=case.delta).upper


def ours_noise(case: Case, _: float) -> float:
    """Ask our calibration."""
    return case.noise()


def opacus_epsilon(name: str) -> Callable[[Case, float], float]:
    """Ask one of Opacus' accountants."""

    def ask(case: Case, noise: float) -> float:
        from opacus.accountants import create_accountant  # noqa: PLC0415

        accountant = create_accountant(name)
        accountant.history = [(noise, case.rate, case.steps)]
        return float(accountant.get_epsilon(delta=case.delta))

    return ask


def opacus_noise(name: str) -> Callable[[Case, float], float]:
    """Ask Opacus' calibration, as it comes."""

    def ask(case: Case, _: float) -> float:
        from opacus.accountants.utils import get_noise_multiplier  # noqa: PLC0415

        return float(
            get_noise_multiplier(
                target_epsilon=case.epsilon,
                target_delta=case.delta,
                sample_rate=case.rate,
                steps=case.steps,
                accountant=name,
            )
        )

    return ask


def google_event(case: Case, noise: float) -> Any:
    """Translate a case for dp-accounting."""
    import dp_accounting  # noqa: PLC0415

    step = dp_accounting.PoissonSampledDpEvent(
        case.rate, dp_accounting.GaussianDpEvent(noise)
    )
    return dp_accounting.SelfComposedDpEvent(step, case.steps)


def google_accountant(name: str) -> Any:
    """Return one of dp-accounting's accountants."""
    from dp_accounting import pld, rdp  # noqa: PLC0415

    return pld.PLDAccountant() if name == "pld" else rdp.RdpAccountant()


def google_epsilon(name: str) -> Callable[[Case, float], float]:
    """Ask one of dp-accounting's accountants."""

    def ask(case: Case, noise: float) -> float:
        accountant = google_accountant(name)
        accountant.compose(google_event(case, noise))
        return float(accountant.get_epsilon(case.delta))

    return ask


def google_noise(name: str) -> Callable[[Case, float], float]:
    """Ask dp-accounting's calibration, as it comes."""

    def ask(case: Case, _: float) -> float:
        import dp_accounting  # noqa: PLC0415

        return float(
            dp_accounting.calibrate_dp_mechanism(
                lambda: google_accountant(name),
                lambda noise: google_event(case, noise),
                case.epsilon,
                case.delta,
            )
        )

    return ask


def prv_epsilon(case: Case, noise: float) -> float:
    """Ask prv-accountant for its upper end, at its error of 0.01."""
    import prv_accountant as prv  # noqa: PLC0415

    accountant = prv.PRVAccountant(
        prvs=prv.PoissonSubsampledGaussianMechanism(case.rate, noise),
        eps_error=0.01,
        delta_error=case.delta / 1000,
        max_self_compositions=case.steps,
    )
    return float(accountant.compute_epsilon(case.delta, [case.steps])[2])


EPSILON = {
    "privplan": ours_epsilon,
    "Opacus PRV": opacus_epsilon("prv"),
    "Opacus RDP": opacus_epsilon("rdp"),
    "dp-acc PLD": google_epsilon("pld"),
    "dp-acc RDP": google_epsilon("rdp"),
    "prv-accountant": prv_epsilon,
}
NOISE = {
    "privplan": ours_noise,
    "Opacus PRV": opacus_noise("prv"),
    "Opacus RDP": opacus_noise("rdp"),
    "dp-acc PLD": google_noise("pld"),
    "dp-acc RDP": google_noise("rdp"),
}


def answer(table: str, peer: str, name: str, noise: float) -> None:
    """Answer one question in this process and print it as JSON."""
    warnings.simplefilter("ignore")
    ask = (EPSILON if table == "epsilon" else NOISE)[peer]
    easy = Case(0.5, 8, 1e-2, 2.0)
    EPSILON[peer](easy, 4.0)  # imports and warms up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value, calls = math.nan, 50 if peer == "privplan" else 1
    start = time.process_time()
    for _ in range(calls):
        value = ask(CASES[name], noise)
    spent = (time.process_time() - start) / calls
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    found = {"value": value, "cpu": spent, "mb": grown / 1024}
    print("\n" + json.dumps(found))


def ask_apart(
    table: str, peer: str, name: str, noise: float, limit: int
) -> dict[str, float] | None:
    """Ask one question in a process of its own; None if it gave no answer in time."""
    command = [sys.executable, __file__, "--one", table, peer, name, repr(noise)]
    command += ["--limit", str(limit)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    lines = run.stdout.strip().splitlines()
    return json.loads(lines[-1]) if run.returncode == 0 and lines else None


def cell(found: dict[str, float] | None, unsafe_below: float, mark: str) -> str:
    """Write one answer, its time and its memory."""
    if found is None or not math.isfinite(found["value"]):
        return "no answer"
    seconds = found["cpu"]
    shown = f"{1e3 * seconds:.1f} ms" if seconds < 0.1 else f"{seconds:.1f} s"
    wrong = f" {mark}" if found["value"] < unsafe_below else ""
    return f"{found['value']:.6g}{wrong} ({shown}, {found['mb']:.0f} MB)"


def report(names: tuple[str, ...], limit: int) -> None:
    """Print both tables, and how many times faster ours is in the median."""
    for table, peers in (("epsilon", EPSILON), ("noise", NOISE)):
        print(f"\n## {table}\n\n| case | {' | '.join(peers)} |")
        print("|---" * (len(peers) + 1) + "|")
        ratios: dict[str, list[float]] = {peer: [] for peer in peers}
        for name in names:
            case = CASES[name]
            noise = case.noise()
            lower = accounting.epsilon(case.event(noise), delta=case.delta).lower
            safe = lower if table == "epsilon" else noise * (1 - 1e-5)
            row = {p: ask_apart(table, p, name, noise, limit) for p in peers}
            mark = "LOW" if table == "epsilon" else "FEW"
            cells = " | ".join(cell(found, safe, mark) for found in row.values())
            print(f"| {name} | {cells} |", flush=True)
            ours = row["privplan"]
            for peer, found in row.items():
                if ours is not None and ours["cpu"] > 0:
                    cpu = math.inf if found is None else found["cpu"]
                    ratios[peer].append(cpu / ours["cpu"])
        median = {peer: statistics.median(r) for peer, r in ratios.items() if r}
        print("\nCPU time over ours, median (no answer counts as infinite):")
        print(", ".join(f"{peer} {ratio:.0f}x" for peer, ratio in median.items()))


def main() -> None:
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit", type=int, default=0, help="CPU seconds a question")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    limit = asked.limit or (20 if asked.quick else 120)
    if asked.one:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        table, peer, name, noise = asked.one
        answer(table, peer, name, float(noise))
    else:
        report(QUICK if asked.quick else tuple(CASES), limit)


if __name__ == "__main__":
    main()
