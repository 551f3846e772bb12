"""Checkpoints: what a run needs to go on, and the model it releases.

    state.safetensors    weights and averages of every part, moments of the optimiser at
                         work, an adaptive C, noisy answers; in one file, so a crash
                         leaves the old state or the new one and nothing between
    model.safetensors    averaged weights and noisy answers: what is released and
                         sampled from

    part.<name>.<parameter>    answer.<phase>    optimiser.<index>.<moment>

Both carry the digest of the plan; the state also carries its place in the plan and the
head of the ledger when it was written. Never in a checkpoint: random state, batch
indices, losses. On resume the *ledger* says how much was spent, whatever a checkpoint
says: an older checkpoint loses work and gains no budget.

The format is safetensors: plain numbers, no code inside.

Edges: reads and writes files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from diffusion.learned import Learned
from diffusion.trainer import Learner
from privplan import files
from privplan.errors import DataError, IntegrityError, PolicyError
from privplan.ledger import LedgerHead

STATE_NAME = "checkpoint/state.safetensors"
MODEL_NAME = "checkpoint/model.safetensors"
_FORMAT = "privplan-checkpoint/1"
_BOUND = "learner.max_grad_norm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a plan a checkpoint was written.

    Attributes:
        plan_digest: Of the plan.
        phase: Name of the phase that comes next or is under way.
        phase_steps: Steps of it in these weights.
        head: The ledger's head at that moment.
    """

    plan_digest: str
    phase: str
    phase_steps: int
    head: LedgerHead


def save_state(folder: Path, learned: Learned, place: Place) -> None:
    """Write the state of a run, whole or not at all.

    Raises:
        DocumentError: The folder cannot be written.
    """
    tensors = _answers(learned)
    for name, part in learned.parts.items():
        tensors |= _over(f"part.{name}.network.", part.network.state_dict())
        tensors |= _over(f"part.{name}.ema.", part.ema.state())
    if learned.learner is not None:
        tensors |= _moments(learned.learner.optimiser)
        tensors |= _bound(learned.learner)
    facts = {
        "format": _FORMAT,
        "plan_digest": place.plan_digest,
        "phase": place.phase,
        "phase_steps": str(place.phase_steps),
        "active": learned.active or "",
        "learner_steps": str(learned.steps_done),
        "ledger_sequence": str(place.head.sequence),
        "ledger_hash": place.head.hash,
    }
    _write(folder / STATE_NAME, tensors, facts)


def save_model(folder: Path, learned: Learned, facts: Mapping[str, object]) -> None:
    """Write the averaged weights and the noisy answers, with public facts about them.

    Raises:
        DocumentError: The folder cannot be written.
    """
    text = {"format": _FORMAT, "facts": json.dumps(facts, sort_keys=True)}
    tensors = _answers(learned)
    for name, part in learned.parts.items():
        tensors |= _over(f"part.{name}.", part.ema.averaged())
    _write(folder / MODEL_NAME, tensors, text)


def place_of(folder: Path) -> str | None:
    """Return the name of the phase that a saved run goes on with; None if none is.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / STATE_NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return str(file.metadata()["phase"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise _damaged(path) from error


def load_state(folder: Path, learned: Learned, *, plan_digest: str) -> Place | None:
    """Load the state of a run, and make its part active; None if there is none yet.

    Raises:
        DataError: The file is damaged.
        PolicyError: It belongs to another plan.
    """
    path = folder / STATE_NAME
    if not path.exists():
        return None
    tensors, facts = _read(path)
    if facts.get("plan_digest") != plan_digest:
        raise PolicyError(
            "this checkpoint belongs to another plan",
            hint="resume with the plan that the run began with",
        )
    try:
        _load(learned, tensors, facts["active"] or None)
        if learned.learner is not None:
            learned.learner.steps_done = int(facts["learner_steps"])
        return Place(
            plan_digest=plan_digest,
            phase=facts["phase"],
            phase_steps=int(facts["phase_steps"]),
            head=LedgerHead(
                sequence=int(facts["ledger_sequence"]), hash=facts["ledger_hash"]
            ),
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise _damaged(path) from error


def load_model(
    path: Path, networks: Mapping[str, nn.Module], *, plan_digest: str
) -> dict[str, Tensor]:
    """Load released weights into networks, by the names of their parts.

    Returns:
        The noisy answers, by the names of their phases.

    Raises:
        DataError: The file is missing, damaged, or of another network.
        IntegrityError: It belongs to another plan.
    """
    tensors, facts = _read(path)
    try:
        found = json.loads(facts["facts"])["plan_digest"]
        if found == plan_digest:
            for name, network in networks.items():
                network.load_state_dict(_under(f"part.{name}.", tensors))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path) from error
    if found != plan_digest:
        raise IntegrityError(
            f"the model {path.name} was trained under another plan",
            hint="give the folder of one run, unchanged",
        )
    return _under("answer.", tensors)


def _load(learned: Learned, tensors: Mapping[str, Tensor], active: str | None) -> None:
    for name, part in learned.parts.items():
        part.network.load_state_dict(_under(f"part.{name}.network.", tensors))
        part.ema.load_state(_under(f"part.{name}.ema.", tensors))
    learned.answers = _under("answer.", tensors)
    learned.active = active
    if learned.learner is not None:
        _load_moments(learned.learner.optimiser, _under("optimiser.", tensors))
        if _BOUND in tensors:
            learned.learner.max_grad_norm = tensors[_BOUND].item()


def _answers(learned: Learned) -> dict[str, Tensor]:
    return _over("answer.", learned.answers)


def _over(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)
    }


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {
        f"optimiser.{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def _bound(learner: Learner) -> dict[str, Tensor]:
    """Keep an adaptive C: to begin again at the first one would undo what was paid."""
    if learner.max_grad_norm is None:
        return {}
    return {_BOUND: torch.tensor(learner.max_grad_norm, dtype=torch.float64)}


def _load_moments(optimiser: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    state = optimiser.state_dict()
    for key, value in moments.items():
        index, name = key.split(".", 1)
        state["state"].setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(state)


def _write(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, str]) -> None:
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    files.write_bytes(path, save(ready, metadata=facts), what="checkpoint")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _damaged(path) from error
    if facts.get("format") != _FORMAT:
        raise _damaged(path)
    return tensors, facts


def _damaged(path: Path) -> DataError:
    return DataError(
        f"the checkpoint {path.name} is missing, damaged or of another network",
        hint="restore it from a copy, or start a new run; the ledger stays as it is",
    )
