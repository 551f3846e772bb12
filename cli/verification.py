"""How a report is verified from the command line: whose keys, which files beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.folders import PLAN_NAME
from privplan import audits, dsse, keys, moments, oversight, verify
from privplan import plan as plans
from privplan.audits import AuditVerdict
from privplan.code_identity import source_digest
from privplan.errors import DocumentError
from privplan.findings import Verdict
from privplan.keys import PublicKey, Role
from privplan.oversight import Office
from privplan.render_report import embedding
from privplan.run_report import PUBLIC_KEY_NAME, REPORT_NAME
from privplan.trust import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What else is asked of a report, beyond what it says of itself.

    Attributes:
        require: A role that must have signed beside the trainer.
        register: The register that should have paid.
        anchor: Where its ledger stood at some earlier time.
        policy: The policy it should have kept.
    """

    require: Role | None = None
    register: Path | None = None
    anchor: Path | None = None
    policy: Path | None = None


def verify_report(
    path: Path,
    *,
    trusted: list[Path],
    ledger_path: Path | None,
    folder: Path | None,
    trust: Trust | None = None,
    asked: Asked | None = None,
) -> tuple[Verdict, bool]:
    """Verify a report; return the verdict and whether the keys came from the user.

    Raises:
        DocumentError: The report, a key or a ledger that was named cannot be read, or
            there is no key.
    """
    path, content = _read(path)
    text = embedding.envelope(content)
    asked = asked or Asked()
    if ledger_path is not None and not ledger_path.exists():
        raise DocumentError(
            f"there is no ledger at {ledger_path}",
            hint="give --ledger the ledger.sqlite of the run or an export of it, or "
            "leave it away",
        )
    known = trust or Trust.of(keys_for(path, trusted))
    found = verify.verify(
        text,
        folder=folder or path.parent,
        trusted=known.public_keys(),
        ledger_path=ledger_path,
    )
    office = Office(
        trust=known,
        pinned=trust is not None,
        require=asked.require,
        register=asked.register,
        anchor=asked.anchor,
        policy=asked.policy,
        folder=folder or path.parent,
        ledger=ledger_path,
        now=moments.now(),
    )
    found = oversight.extend(found, office)
    if embedding.is_page(content):
        from privplan.render_report import comparing  # noqa: PLC0415 - makes pages

        found = comparing.extend(found, content)
    return found, bool(trusted) or trust is not None


def verify_audit(
    path: Path, trusted: list[Path], folder: Path | None
) -> AuditVerdict | None:
    """Verify an audit; None if this is something else.

    A plan.json in the folder, by default the one the audit is in, is compared.

    Raises:
        DocumentError: It or a key cannot be read, or there is no key.
    """
    path, text = read_report(path)
    if not audits.is_audit(text):
        return None
    beside = (folder or path.parent) / PLAN_NAME
    return audits.verify(
        text,
        trusted=keys_for(path, trusted),
        plan=plans.read(beside) if beside.is_file() else None,
        source_digest=source_digest(),
    )


def read_report(path: Path) -> tuple[Path, bytes]:
    """Return where a report is and its bytes; a folder stands for the report in it.

    Of a page, the bytes are those of the signed report it holds.

    Raises:
        DocumentError: It cannot be read.
    """
    path, content = _read(path)
    return path, embedding.envelope(content)


def _read(path: Path) -> tuple[Path, bytes]:
    if path.is_dir():
        path = path / REPORT_NAME
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"the report {path} cannot be read: {error.strerror}",
            hint="give the path of a report.json or report.html",
        ) from error


def keys_for(path: Path, trusted: list[Path]) -> list[PublicKey]:
    """Return the keys to check a report with: those given, or the one beside it.

    Raises:
        DocumentError: A key cannot be read, or there is none.
    """
    beside = path.parent / PUBLIC_KEY_NAME
    if not trusted and not beside.is_file():
        _require_report(path)
        raise DocumentError(
            f"there is no key to check {path.name} with",
            hint="give --key with the public key of whoever should have signed",
        )
    return [keys.load_public(key) for key in trusted or [beside]]


def _require_report(path: Path) -> None:
    """Refuse what is no report at all, whoever should have signed it.

    Raises:
        DocumentError: It is something else, or was cut short.
    """
    try:
        dsse.unpack(embedding.envelope(path.read_bytes()))
    except DocumentError as error:
        raise DocumentError(
            f"{path} is not a report: {error.message}",
            hint="give the path of a whole report.json or report.html",
        ) from error
