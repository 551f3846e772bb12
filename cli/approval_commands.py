"""The commands of whoever answers for a run: `approve`, `countersign`, `trust ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import approval_view, keyring, oversight, pages, verification
from cli.options import AsJson
from cli.oversight import OfficerKey, PolicyFile, RootKey, TrustFile
from privplan import approval, files, keys, policy, run_report, signing, trust_file
from privplan import plan as plans
from privplan.errors import IntegrityError
from privplan.findings import Outcome, Verdict
from privplan.grants import check_officer

trust_app = typer.Typer(no_args_is_help=True, help="Which keys may act as what.")
_DEFAULT = Path("trust.json")
_Path = Annotated[Path, typer.Option("--trust", help="The trust file.")]
_Key = Annotated[
    Path, typer.Option("--key", help="Private key that signs.", show_default=False)
]
_Until = Annotated[
    str | None, typer.Option(help="Last day or moment; default without end.")
]


def approve(
    path: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan.")],
    key: OfficerKey,
    *,
    rules: PolicyFile = None,
    note: Annotated[str, typer.Option(help="A sentence to sign with it.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="No run may begin after this day.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Default beside the plan: plan.approval.json.")
    ] = None,
    passphrase_file: keyring.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Approve a plan as an officer; its cost is computed anew.

    Exit code: 0 approved, 1 no plan or no key, 3 it costs more than its budget, 4 the
    plan was changed, 5 not an officer's key, or the policy refuses.
    """
    made = plans.read(path)
    if rules is not None:
        policy.check_plan(policy.read(rules), made)
    signer = keyring.load(key, passphrase_file)
    said, envelope = approval.approve(made, signer, note=note, expires=expires)
    place = out or approval.beside(path)
    files.write_bytes(place, envelope, what="approval")
    approval_view.approved(said, signer.public, place, as_json=as_json)


def countersign(
    path: Annotated[Path, typer.Argument(metavar="REPORT", help="The report.")],
    key: OfficerKey,
    *,
    trainer: Annotated[
        list[Path] | None,
        typer.Option(help="Trainer's public key; default the one beside the report."),
    ] = None,
    trust: TrustFile = None,
    root: RootKey = None,
    ledger_file: Annotated[
        Path | None, typer.Option("--ledger", help="Default beside the report.")
    ] = None,
    artefacts: Annotated[
        Path | None, typer.Option(help="Folder of the files the report names.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Default in place of the report.")
    ] = None,
    passphrase_file: keyring.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Verify a report, then put an officer's signature under it.

    Exit code: 0 signed, 1 no report or no key, 4 it does not verify, 5 not an
    officer's key, it has signed already, or the report makes no claim.
    """
    signer = keyring.load(key, passphrase_file)
    check_officer(signer)
    where = path / run_report.REPORT_NAME if path.is_dir() else path
    found, _ = verification.verify_report(
        where,
        trusted=trainer or [],
        ledger_path=ledger_file,
        folder=artefacts,
        trust=oversight.trust(trust, root),
    )
    _require(found)
    text = signing.add_signature(where.read_bytes(), signer)
    files.write_bytes(out or where, text, what="report")
    pages.renew(text, out or where)
    approval_view.countersigned(found, signer.public, out or where, as_json=as_json)


@trust_app.command("new")
def trust_new(
    key: _Key,
    owner: Annotated[str, typer.Option(help="Whose root key it is.")],
    *,
    until: _Until = None,
    path: _Path = _DEFAULT,
    passphrase_file: keyring.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Begin a trust file with a root key.

    Exit code: 0 written, 1 a file cannot be read or written, 2 a moment is not
    allowed, 5 not a root key, or the file exists.
    """
    signer = keyring.load(key, passphrase_file)
    made = trust_file.new(path, signer, owner=owner, until=until)
    approval_view.trust(made, path, as_json=as_json)


@trust_app.command("add")
def trust_add(
    public: Annotated[Path, typer.Argument(metavar="PUB", help="The key to add.")],
    key: _Key,
    owner: Annotated[str, typer.Option(help="Whose key it is.")],
    *,
    start: Annotated[
        str | None,
        typer.Option("--from", help="First day or moment; default always."),
    ] = None,
    until: _Until = None,
    path: _Path = _DEFAULT,
    passphrase_file: keyring.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a key, signed by a root; or vouch for a successor of the same role.

    Exit code: 0 added, 1 a file cannot be read or written, 2 a moment is not allowed,
    4 the trust file was changed, or the signer is not in it, 5 it may not add this key.
    """
    signer = keyring.load(key, passphrase_file)
    made = trust_file.add(
        path, keys.load_public(public), signer, owner=owner, start=start, until=until
    )
    approval_view.trust(made, path, as_json=as_json)


@trust_app.command("revoke")
def trust_revoke(
    which: Annotated[
        str, typer.Argument(metavar="KEY", help="A .pub file, or a keyid's start.")
    ],
    key: _Key,
    reason: Annotated[str, typer.Option(help="Why, in a few words.")],
    *,
    start: Annotated[
        str | None, typer.Option("--from", help="From when on; default now.")
    ] = None,
    path: _Path = _DEFAULT,
    passphrase_file: keyring.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: from then on nothing it signed counts, nor whom it vouched for.

    Exit code: 0 revoked, 1 a file cannot be read or written, 2 a moment is not
    allowed, 4 the trust file was changed, 5 the signer may not revoke this key.
    """
    keyid = oversight.keyid(which, trust_file.read(path))
    signer = keyring.load(key, passphrase_file)
    made = trust_file.revoke(path, keyid, signer, reason=reason, start=start)
    approval_view.trust(made, path, as_json=as_json)


@trust_app.command("show")
def trust_show(
    path: Annotated[Path, typer.Argument(help="The trust file.")] = _DEFAULT,
    *,
    root: RootKey = None,
    as_json: AsJson = False,
) -> None:
    """Show a trust file's keys, after every link was checked.

    Exit code: 0 whole, 1 not a trust file, 4 it was changed, or is another root's.
    """
    known = None if root is None else keys.load_public(root)
    approval_view.trust(trust_file.read(path, root=known), path, as_json=as_json)


def _require(found: Verdict) -> None:
    if found.passed:
        return
    failed = [f for f in found.findings if f.outcome is Outcome.FAILED]
    missing = [f for f in found.findings if f.outcome is Outcome.NOT_TAKEN]
    first = (failed or missing)[0]
    raise IntegrityError(
        f"the report does not verify, so it is not signed: {first.number} {first.text}",
        hint="see privplan verify; sign only what verifies",
    )
