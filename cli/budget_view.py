"""What the budget commands say: totals, history, and what just happened."""

from __future__ import annotations

from pathlib import Path

from cli.paper import console, print_json, table, talk
from privplan import register_run
from privplan.canonical import decimal_text, round_down, round_up, text_down, text_up
from privplan.grants import Grant, open_grant
from privplan.keys import PublicKey
from privplan.ledger_entries import LedgerHead
from privplan.register import DataSet, RegisterContent, Reservation
from privplan.register_entries import Begin, Entry, GrantEntry, Reserve, Settle

_COLUMNS = [
    ("data set", "left"),
    ("", "left"),
    ("granted", "right"),
    ("taken", "right"),
    ("left", "right"),
]


def granted(
    made: Grant,
    key: PublicKey,
    path: Path,
    head: LedgerHead,
    *,
    begun: bool,
    as_json: bool,
) -> None:
    """Say what was granted, and what to note elsewhere."""
    if as_json:
        print_json(
            {"register": str(path), "begun": begun, "head": _head(head)}
            | {"grant": made.model_dump(mode="json"), "keyid": key.keyid}
        )
        return
    if begun:
        talk(f"Began register {path}; officer key {key.fingerprint}")
    talk(
        f"Granted data set '{made.data_set}' epsilon {made.epsilon:g}, delta "
        f"{made.delta:g} over all its runs\n  per {made.max_records_per_unit} "
        f"'{made.unit}', {made.adjacency}"
    )
    talk(f"Note this head elsewhere: {head.sequence}:{head.hash}")


def totals(
    content: RegisterContent, names: list[str], *, pinned: bool, as_json: bool
) -> None:
    """Print what each data set was granted, what was taken, what is left."""
    sets, head = content.tally.data_sets, content.tally.head
    if as_json:
        opening = content.tally.opening
        print_json(
            {
                "register_id": "" if opening is None else opening.register_id,
                "officer_given": pinned,
                "entries": len(content.entries),
                "head": _head(head),
                "data_sets": [_as_json(sets[name]) for name in names],
            }
        )
        return
    out = console()
    out.print(table(_COLUMNS, [row for name in names for row in _rows(sets[name])]))
    for name in names:
        out.print(_terms(sets[name]), markup=False)
    out.print(f"{len(content.entries):,} entries, chain whole, costs recomputed. Head:")
    out.print(f"{head.sequence}:{head.hash}", soft_wrap=True)
    if not pinned:
        talk(
            "Grants were checked against the officer key inside the register. Give "
            "--trust to check them against keys you chose."
        )


def history(content: RegisterContent, *, last: int, as_json: bool) -> None:
    """Print the last entries of a register."""
    shown = content.entries[-last:]
    if as_json:
        print_json(
            {
                "entries": [
                    entry.model_dump(mode="json") | {"hash": head.hash}
                    for head, entry in shown
                ],
                "head": _head(content.tally.head),
            }
        )
        return
    rows = [
        [str(head.sequence), entry.kind, *_says(content, entry), head.hash[:8]]
        for head, entry in shown
    ]
    columns = [("", "right"), ("kind", "left"), ("says", "left")]
    numbers = [("epsilon", "right"), ("delta", "right"), ("hash", "left")]
    console().print(table([*columns, *numbers], rows))


def settled(found: Reservation, *, as_json: bool) -> None:
    """Say what a run cost in the end, and what it gave back."""
    epsilon, delta = register_run.refund(found)
    said = found.settled
    counted = {} if said is None else said.counted
    if as_json:
        print_json(
            {
                "reservation": found.entry.reservation,
                "data_set": found.entry.data_set,
                "counted": counted,
                "cost": {
                    "epsilon": decimal_text(float(found.cost[0])),
                    "delta": decimal_text(float(found.cost[1])),
                },
                "given_back": {
                    "epsilon": decimal_text(epsilon),
                    "delta": decimal_text(delta),
                },
            }
        )
        return
    steps = ", ".join(f"{phase} {count:,}" for phase, count in counted.items())
    talk(f"Settled a run of data set '{found.entry.data_set}'; steps counted: {steps}")
    talk(
        f"It cost epsilon {text_up(float(found.cost[0]), 4)}; given back: epsilon "
        f"{text_down(epsilon, 4)}, delta {delta:g}"
    )
    if epsilon == 0 and not found.entry.refundable:
        talk(
            "It was not reserved with --refundable, so where epsilons add up, its cost "
            "stays whole."
        )


def _rows(data_set: DataSet) -> list[list[str]]:
    taken, left, grant = data_set.taken, data_set.left, data_set.grant
    return [
        [
            data_set.name,
            "epsilon",
            f"{grant.epsilon:g}",
            text_up(taken[0], 4),
            text_down(left[0], 4),
        ],
        [
            "",
            "delta",
            f"{grant.delta:g}",
            f"{round_up(taken[1], 4):g}",
            f"{round_down(left[1], 4):g}",
        ],
    ]


def _terms(data_set: DataSet) -> str:
    grant, keyid = data_set.grants[-1]
    ends = "" if grant.expires is None else f", until {grant.expires[:10]}"
    runs = [reserved.state for reserved in data_set.reservations.values()]
    saved = _by_filter(data_set)
    text = (
        f"{data_set.name}: per {grant.max_records_per_unit} '{grant.unit}', "
        f"{grant.adjacency}{ends}; {len(runs)} runs, {runs.count('settled')} settled; "
        f"officer {keyid[:16]}{saved}"
    )
    return text if data_set.void is None else f"{text}; VOID: {data_set.void}"


def _by_filter(data_set: DataSet) -> str:
    """Say how a filter adds up, beside what adding epsilons up would give."""
    if data_set.filter is None:
        return ""
    orders = ", ".join(f"{order:g}" for order in data_set.grant.orders)
    return (
        f"\n  added up by an rdp filter at orders {orders}: epsilon "
        f"{text_up(data_set.taken[0], 4)}; epsilons added up would be "
        f"{text_up(data_set.added[0], 4)}"
    )


def _as_json(data_set: DataSet) -> dict[str, object]:
    taken, left, grant = data_set.taken, data_set.left, data_set.grant
    return {
        "name": data_set.name,
        "granted": {
            "epsilon": decimal_text(grant.epsilon),
            "delta": decimal_text(grant.delta),
        },
        "taken": {
            "epsilon": decimal_text(taken[0]),
            "delta": decimal_text(taken[1]),
        },
        "left": {"epsilon": decimal_text(left[0]), "delta": decimal_text(left[1])},
        "unit": grant.unit,
        "max_records_per_unit": grant.max_records_per_unit,
        "adjacency": grant.adjacency.value,
        "composition": grant.composition,
        "orders": [decimal_text(order) for order in grant.orders],
        "added_up": {
            "epsilon": decimal_text(data_set.added[0]),
            "delta": decimal_text(data_set.added[1]),
        },
        "expires": grant.expires,
        "officer": data_set.grants[-1][1],
        "void": data_set.void,
        "runs": [
            {
                "reservation": name,
                "plan": reserved.entry.plan_digest,
                "state": reserved.state,
                "refundable": reserved.entry.refundable,
                "epsilon": decimal_text(float(reserved.cost[0])),
                "delta": decimal_text(float(reserved.cost[1])),
            }
            for name, reserved in data_set.reservations.items()
        ],
    }


def _says(content: RegisterContent, entry: Entry) -> tuple[str, str, str]:
    match entry:
        case GrantEntry():
            trusted = content.tally.authority().public_keys()
            grant, _ = open_grant(entry.envelope.encode(), trusted=trusted)
            what = f"'{grant.data_set}', {grant.written[:10]}"
            return what, f"{grant.epsilon:g}", f"{grant.delta:g}"
        case Reserve():
            what = f"'{entry.data_set}', plan {entry.plan_digest[:12]}"
            return what, text_up(entry.epsilon, 4), f"{entry.delta:g}"
        case Begin():
            return f"run {entry.ledger_id[:12]}", "", ""
        case Settle():
            what = f"run {entry.ledger_id[:12]}"
            return what, text_up(entry.epsilon, 4), f"{entry.delta:g}"
        case _:
            return f"{entry.register_id[:12]}, {entry.time[:10]}", "", ""


def _head(head: LedgerHead) -> dict[str, object]:
    return {"sequence": head.sequence, "hash": head.hash}
