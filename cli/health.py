"""What `privplan doctor` looks at: one finding per thing, good, odd or broken.

    ok      as it should be
    look    works, but somebody should know
    broken  something here cannot be relied on

Nothing is changed, no record is read, and no key is opened.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from cli import folders
from cli.installed import HOW_TO_INSTALL, can_train
from privplan import accounting, events, keys, ledger_checks, opinions
from privplan import plan as plans
from privplan.canonical import text_up
from privplan.code_identity import source_digest
from privplan.errors import PrivplanError
from privplan.risk import gdp_epsilon
from privplan.version import __version__

_DELTA = 1e-5
_EXTRA = "diffusion"
_LEAST_MEMORY, _LEAST_DISK = 2.0, 1.0  # GiB
_GIB = 2.0**30


class State(StrEnum):
    """How something is."""

    OK = "ok"
    LOOK = "look"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: "versions", "machine", "self-test", "key", "plan" or "ledger".
        name: What it is.
        state: How it is.
        text: What was found, on one line.
    """

    area: str
    name: str
    state: State
    text: str


def versions() -> Iterator[Finding]:
    """Compare what is installed with what privplan asks for."""
    yield _ok("versions", "privplan", f"{__version__}, sources {source_digest()[:12]}")
    yield _ok("versions", "python", platform.python_version())
    try:
        asked = metadata.requires("privplan") or []
    except metadata.PackageNotFoundError:
        text = "runs from its sources and is not installed; versions not compared"
        yield Finding(area="versions", name="package", state=State.LOOK, text=text)
        return
    extra = _EXTRA if can_train() else ""
    for line in asked:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            yield _version(wanted)
    if not extra:
        text = f"not all installed, so nothing can be trained here; {HOW_TO_INSTALL}"
        yield Finding(area="versions", name=_EXTRA, state=State.LOOK, text=text)


def _version(wanted: Requirement) -> Finding:
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        text = f"missing; privplan needs {wanted}"
        return Finding(area="versions", name=wanted.name, state=State.BROKEN, text=text)
    fits = wanted.specifier.contains(found, prereleases=True)
    text = found if fits else f"{found}, but privplan needs {wanted.specifier}"
    state = State.OK if fits else State.BROKEN
    return Finding(area="versions", name=wanted.name, state=state, text=text)


def machine() -> Iterator[Finding]:
    """Say what there is to compute with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    yield _ok("machine", "processor", f"{cores or os.cpu_count()} cores")
    memory = _memory()
    if memory is not None:
        whole, free = memory
        state = State.OK if free >= _LEAST_MEMORY else State.LOOK
        text = f"{free:.1f} of {whole:.1f} GiB free"
        yield Finding(area="machine", name="memory", state=state, text=text)
    disk = shutil.disk_usage(Path()).free / _GIB
    state = State.OK if disk >= _LEAST_DISK else State.LOOK
    text = f"{disk:.1f} GiB free here"
    yield Finding(area="machine", name="disk", state=state, text=text)
    if not can_train():
        return
    import torch  # noqa: PLC0415 - only doctor, train and sample load it

    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        text = f"{about.name}, {about.total_memory / _GIB:.1f} GiB"
        yield _ok("machine", f"cuda {index}", text)
    if not torch.cuda.is_available():
        yield _ok("machine", "cuda", "none; --device cpu")


def _memory() -> tuple[float, float] | None:
    """Return memory in all and free, in GiB, where the system says so."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = {k: int(v) for k, v in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}
    return found["MemTotal"] / 2**20, found["MemAvailable"] / 2**20


def self_tests() -> Iterator[Finding]:
    """Test the accountant against formulas and another library, then the machinery."""
    yield _accountant()
    if not can_train():
        return
    from diffusion import self_tests as tests  # noqa: PLC0415 - imports torch

    for found in (tests.noise(), *tests.engines()):
        state = State.OK if found.passed else State.BROKEN
        yield Finding(area="self-test", name=found.name, state=state, text=found.text)


def _accountant() -> Finding:
    """Compare a Gaussian with its closed form, a sampled one with dp-accounting."""
    plain = accounting.epsilon(events.GaussianEvent(noise_multiplier=1.0), delta=_DELTA)
    exact = gdp_epsilon(1.0, _DELTA)
    step = events.PoissonSampledGaussianEvent(sample_rate=0.02, noise_multiplier=1.1)
    run = events.SelfComposedEvent(event=step, count=500)
    ours = accounting.epsilon(run, delta=_DELTA)
    others = opinions.second_opinions(run, delta=_DELTA)
    good = (
        math.isclose(plain.upper, exact, rel_tol=1e-4)
        and bool(others)
        and opinions.agree(ours.lower, ours.upper, others)
    )
    names = ", ".join(other.name for other in others)
    text = (
        f"closed form {exact:.5f}, ours {text_up(plain.upper, 5)}; 500 sampled steps "
        f"{text_up(ours.upper, 5)}, {'agreed' if good else 'NOT AGREED'} by {names}"
    )
    return Finding(
        area="self-test",
        name="accountant",
        state=State.OK if good else State.BROKEN,
        text=text,
    )


def key(path: Path) -> Finding:
    """Look at a private key without opening it."""
    if not path.exists():
        text = f"none at {path}; make one with privplan keys new"
        return Finding(area="key", name=path.name, state=State.LOOK, text=text)
    try:
        locked = keys.needs_passphrase(path)
        if not locked:
            keys.load_key(path)
    except PrivplanError as error:
        return Finding(
            area="key", name=path.name, state=State.BROKEN, text=error.message
        )
    state = State.OK if locked else State.LOOK
    text = "encrypted" if locked else "not encrypted: whoever reads it can sign"
    return Finding(area="key", name=path.name, state=state, text=f"{path}: {text}")


def runs(found: Iterable[Path]) -> Iterator[Finding]:
    """Look at plans and ledgers of run folders."""
    code = source_digest()
    for folder in found:
        plan = folder / folders.PLAN_NAME
        if not folder.is_dir():
            text = "there is no such run folder"
            yield Finding(area="plan", name=str(folder), state=State.BROKEN, text=text)
        if plan.is_file():
            yield _plan(plan)
        ledger = folder / folders.LEDGER_NAME
        if ledger.is_file():
            yield _ledger(ledger, plan if plan.is_file() else None, code)


def _plan(path: Path) -> Finding:
    try:
        made = plans.read(path)
    except PrivplanError as error:
        return Finding(
            area="plan", name=str(path), state=State.BROKEN, text=error.message
        )
    if made.privplan_version != __version__:
        text = f"made by privplan {made.privplan_version}, this is {__version__}"
        return Finding(area="plan", name=str(path), state=State.LOOK, text=text)
    return _ok("plan", str(path), f"unchanged, digest {made.digest[:12]}")


def _ledger(path: Path, plan: Path | None, code: str) -> Finding:
    try:
        found = ledger_checks.check(path, plan=plan)
    except PrivplanError as error:
        return Finding(
            area="ledger", name=str(path), state=State.BROKEN, text=error.message
        )
    content = found.content
    if not found.passed or content is None:
        failed = [f.text for f in found.findings if f.outcome.value == "failed"]
        return Finding(
            area="ledger", name=str(path), state=State.BROKEN, text="; ".join(failed)
        )
    odd = []
    if content.unsafe:
        odd.append("its noise came from a seed, so no claim can be made")
    if content.code_digest != code:
        odd.append("other sources ran it; resuming needs --allow-code-change")
    text = f"{len(content.entries):,} entries, chain whole, belongs to its plan"
    return Finding(
        area="ledger",
        name=str(path),
        state=State.LOOK if odd else State.OK,
        text="; ".join([text, *odd]),
    )


def _ok(area: str, name: str, text: str) -> Finding:
    return Finding(area=area, name=name, state=State.OK, text=text)
