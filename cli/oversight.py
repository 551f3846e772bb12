"""What commands ask of an office: whose keys count, who pays, which rules hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from cli import folders, keyring
from privplan import (
    approval,
    canonical,
    files,
    keys,
    moments,
    policy,
    register_file,
    trust_file,
)
from privplan.errors import DocumentError, ParameterError
from privplan.keys import PublicKey, SigningKey
from privplan.plan import Plan
from privplan.register_run import Charge
from privplan.run_rules import APPROVAL_NAME, RunRules
from privplan.trust import Trust

REGISTER_NAME = "register.sqlite"

RegisterFile = Annotated[
    Path | None, typer.Option("--register", help="The register that pays for the run.")
]
OwnRegister = Annotated[Path, typer.Option("--register", help="The register's file.")]
TrustFile = Annotated[
    Path | None, typer.Option("--trust", help="Trust file: whose keys count.")
]
RootKey = Annotated[
    Path | None, typer.Option("--root", help="Root key the trust file must begin with.")
]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="Rules the plan and run must keep.")
]
OfficerKey = Annotated[
    Path, typer.Option("--key", help="An officer's private key.", show_default=False)
]


def trust(path: Path | None, root: Path | None = None) -> Trust | None:
    """Read a trust file, if one was given.

    Raises:
        PrivplanError: It cannot be read, is broken, or is another root's.
    """
    if path is None:
        if root is not None:
            raise ParameterError(
                "--root was given without --trust",
                hint="add --trust with the trust file that this root signed",
            )
        return None
    known = None if root is None else keys.load_public(root)
    return trust_file.read(path, root=known)


def charge(
    register: Path | None,
    trusted: Trust | None,
    *,
    data_set: str | None,
    refundable: bool,
) -> Charge | None:
    """Return who pays for a run; None if no register was given.

    Raises:
        ParameterError: An option about a register was given without one.
        PrivplanError: The register is not there, or not whole.
    """
    if register is None:
        if data_set is not None or refundable:
            raise ParameterError(
                "--data-set and --refundable are about a register, and none was given",
                hint="add --register",
            )
        return None
    register_file.read(register, trusted)  # refuse before anything else is asked
    return Charge(
        register=register, trust=trusted, data_set=data_set, refundable=refundable
    )


def keep_rules(
    rules: Path | None,
    plan: Plan,
    place: Path | None,
    folder: Path,
    *,
    registered: bool,
    trusted: Trust | None,
) -> RunRules:
    """Hold a run to a policy; its approval is copied into the run folder.

    Args:
        rules: The policy file; None asks for nothing.
        plan: What is about to run.
        place: The plan file or run folder that was named.
        folder: The run folder.
        registered: Whether a register pays.
        trusted: Whose keys count; None takes whom the policy names.

    Returns:
        The digests of policy and approval, for the ledger to note.

    Raises:
        PrivplanError: A rule is broken.
    """
    if rules is None and trusted is None:
        return RunRules()
    text = _approval(place, folder)
    if rules is not None:
        policy.check_run(
            policy.read(rules), plan, approval=text, registered=registered,
            trust=trusted,
        )  # fmt: skip
    elif text is not None and trusted is not None:
        approval.check(text, plan, trusted, now=moments.now())
    if text is not None:
        files.make_folder(folder)
        files.write_bytes(folder / APPROVAL_NAME, text, what="approval")
    return RunRules(
        policy=None if rules is None else canonical.file_digest(rules),
        approval=None if text is None else hashlib.sha256(text).hexdigest(),
    )


def officer(path: Path, passphrase_file: Path | None) -> SigningKey:
    """Load an officer's key.

    Raises:
        PrivplanError: It cannot be loaded.
    """
    return keyring.load(path, passphrase_file)


def keyid(given: str, trusted: Trust) -> str:
    """Turn a .pub file, or the first digits of a keyid, into a keyid.

    Raises:
        DocumentError: No key of the trust file is meant, or several are.
    """
    if Path(given).is_file():
        return keys.load_public(Path(given)).keyid
    found = [key for key in trusted.keys if len(given) >= 8 and key.startswith(given)]
    if len(found) != 1:
        raise DocumentError(
            f"{given[:80]!r} is neither a .pub file nor the start of one known keyid",
            hint="give the .pub file, or at least 8 digits; see privplan trust show",
        )
    return found[0]


def public_keys(paths: list[Path] | None) -> list[PublicKey]:
    """Load public keys.

    Raises:
        PrivplanError: One cannot be read.
    """
    return [keys.load_public(path) for path in paths or []]


def _approval(place: Path | None, folder: Path) -> bytes | None:
    plan_file = place or Path(folders.PLAN_NAME)
    beside = [] if plan_file.is_dir() else [approval.beside(plan_file)]
    for path in [*beside, folder / APPROVAL_NAME]:
        if path.is_file():
            return path.read_bytes()
    return None
