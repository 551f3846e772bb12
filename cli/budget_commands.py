"""The commands of a data set's lifetime budget: `privplan budget ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import budget_view, folders, keyring, oversight, render
from cli.options import (
    AsJson,
    CaptionColumn,
    Classes,
    ImageSize,
    RunFolder,
    UnitColumn,
)
from cli.oversight import OfficerKey, OwnRegister, TrustFile
from privplan import checks, grants, moments, register, register_run
from privplan.budget import Adjacency, PrivacyBudget, PrivacyUnit
from privplan.errors import IntegrityError, ParameterError
from privplan.register import GrantRequest, Register, RegisterContent
from privplan.register_filter import chosen_orders
from privplan.register_run import Charge

budget_app = typer.Typer(
    no_args_is_help=True, help="What a data set may lose over all its runs."
)
_DEFAULT = Path(oversight.REGISTER_NAME)


@budget_app.command("grant")
def grant(
    data_set: Annotated[str, typer.Option(help="The name of the data set.")],
    data: Annotated[str, typer.Option(help="'digits', an idx folder, ...: the data.")],
    eps: Annotated[float, typer.Option("--eps", help="Epsilon over all runs.")],
    delta: Annotated[float, typer.Option(help="Delta over all runs.")],
    key: OfficerKey,
    *,
    unit: Annotated[str, typer.Option(help="Whose presence is protected.")] = "record",
    unit_column: UnitColumn = None,
    caption_column: CaptionColumn = None,
    max_records: Annotated[int, typer.Option(help="Records per unit, at most.")] = 1,
    adjacency: Annotated[
        Adjacency, typer.Option(help="What neighbours differ in.")
    ] = Adjacency.ADD_OR_REMOVE_ONE,
    composition: Annotated[
        Literal["basic", "rdp-filter"], typer.Option(help="How runs add up.")
    ] = "basic",
    order: Annotated[
        list[float] | None,
        typer.Option(help="Renyi order of an rdp-filter; may be given again."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="No run may begin after this day.")
    ] = None,
    amend: Annotated[
        bool, typer.Option("--amend", help="Put a new total in place of the old.")
    ] = False,
    image_size: ImageSize = None,
    classes: Classes = None,
    path: OwnRegister = _DEFAULT,
    trust: TrustFile = None,
    passphrase_file: keyring.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Grant a data set a budget; begins the register if there is none.

    Reads the records to recognise them later; keeps a keyed commitment only.

    Exit code: 0 granted, 1 a file cannot be read or written, 2 a number is not
    allowed, 4 the register was changed, 5 not an officer's key, or granted already.
    """
    unit = unit_column or unit
    checks.name(data_set=data_set, unit=unit)
    budget = PrivacyBudget(
        target_epsilon=eps,
        target_delta=delta,
        adjacency=adjacency,
        unit=PrivacyUnit(name=unit, max_records=max_records),
    )
    orders = chosen_orders(composition, tuple(order or ()), budget)
    if expires is not None:
        moments.parse(expires)
    signer = keyring.load(key, passphrase_file)
    grants.check_officer(signer)
    request = GrantRequest(
        data_set=data_set,
        data_digest=_digest(data, image_size, classes, unit_column, caption_column),
        budget=budget,
        composition=composition,
        orders=orders,
        expires=expires,
        amend=amend,
    )
    known, begun = oversight.trust(trust), not path.exists()
    if begun:
        Register.create(path, signer.public).close()
    with Register.open(path, trust=known) as book:
        made, head = book.grant(request, signer), book.head()
    budget_view.granted(made, signer.public, path, head, begun=begun, as_json=as_json)


@budget_app.command("show")
def show(
    data_set: Annotated[
        str | None, typer.Argument(help="One data set; default all.")
    ] = None,
    *,
    path: OwnRegister = _DEFAULT,
    trust: TrustFile = None,
    head: Annotated[
        str | None,
        typer.Option(help="NUMBER:HASH of an entry seen before; must still be there."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is granted, taken and left; every number is computed again.

    Exit code: 0 the register is whole, 1 not a register, 4 it was changed or rolled
    back, 5 it knows no such data set.
    """
    content = register.read(path, oversight.trust(trust))
    _check_head(content, head)
    names = list(content.tally.data_sets)
    if data_set is not None:
        names = [register.named(content, data_set).name]
    budget_view.totals(content, names, pinned=trust is not None, as_json=as_json)


@budget_app.command("history")
def history(
    path: OwnRegister = _DEFAULT,
    trust: TrustFile = None,
    last: Annotated[int, typer.Option(help="How many entries.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the entries of a register: grants, reservations, settlements.

    Exit code: 0 the register is whole, 1 not a register, 2 a number is not allowed,
    4 it was changed.
    """
    checks.count(last=last)
    content = register.read(path, oversight.trust(trust))
    budget_view.history(content, last=last, as_json=as_json)


@budget_app.command("settle")
def settle(
    run: RunFolder = None,
    *,
    path: OwnRegister = _DEFAULT,
    trust: TrustFile = None,
    as_json: AsJson = False,
) -> None:
    """End a run for good; what its ledger did not count is given back.

    The run is charged for every step its ledger counts. Epsilon comes back if the run
    was reserved with --refundable, or if it began no private step.

    Exit code: 0 settled, 1 no ledger or no register, 4 one of them was changed, 5 the
    run has no reservation, or is settled already.
    """
    charge = Charge(register=path, trust=oversight.trust(trust))
    settled = register_run.settle(folders.ledger_file(run), charge)
    budget_view.settled(settled, as_json=as_json)


def _digest(
    data: str,
    image_size: int | None,
    classes: int | None,
    unit_column: str | None,
    captions: str | None,
) -> str:
    from diffusion.data import data_digest, load_private  # noqa: PLC0415

    render.talk("Reading the records to recognise them later ...")
    column = None if unit_column is None else PrivacyUnit(name=unit_column)
    return data_digest(
        load_private(
            data,
            image_size=image_size,
            classes=classes,
            unit=column,
            captions=captions,
        )
    )


def _check_head(content: RegisterContent, head: str | None) -> None:
    if head is None:
        return
    number, _, digest = head.partition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 16 and digest):
        raise ParameterError(
            f"{head[:80]!r} is not an entry of a register",
            hint="give NUMBER:HASH, as privplan budget show printed it",
        )
    if content.hash_at(int(number)) != digest:
        raise IntegrityError(
            f"entry {int(number)} is not the one you saw: the register was rolled "
            "back, rewritten, or is a copy that went its own way",
            hint="find the newest copy, and compare it with the reports of its runs",
        )
