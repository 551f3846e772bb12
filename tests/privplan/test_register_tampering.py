"""Registers that somebody edited, cut, reordered, copied or rewrote."""

import json
import random
import shutil
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privplan import canonical, grants, ledger, register, signing
from privplan.errors import IntegrityError, LedgerError, PolicyError, PrivplanError
from privplan.keys import Role
from privplan.ledger_entries import START
from privplan.ledger_store import Row
from privplan.register import Register
from privplan.register_entries import entry_hash
from privplan.register_run import Charge
from tests.privplan import registers as make


@pytest.fixture(scope="module")
def made():
    return make.plan()


@pytest.fixture(scope="module")
def original(tmp_path_factory, made):
    """Opening, grant, two runs of two entries each, a second grant: seven entries."""
    folder = tmp_path_factory.mktemp("register")
    path = make.begun(folder)
    for name in ("one", "two"):
        make.run_of(folder / name, made, Charge(register=path, refundable=True))
    with Register.open(path) as book:
        book.grant(make.request(epsilon=5.0, amend=True), make.signer(folder))
    return path


@pytest.fixture
def path(original, tmp_path):
    shutil.copy(original, tmp_path / "register.sqlite")
    return tmp_path / "register.sqlite"


def rows(path) -> list[Row]:
    with sqlite3.connect(path) as raw:
        found = raw.execute("SELECT sequence, previous, body, hash FROM entries")
        return [(n, p, b.encode(), h) for n, p, b, h in found]


def overwrite(path, changed) -> None:
    """Edit the file as its owner could: rules off, edit, rules back on."""
    with sqlite3.connect(path, isolation_level=None) as raw:
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        rules = raw.execute(query).fetchall()
        raw.execute("PRAGMA synchronous=OFF")
        raw.execute("BEGIN")
        for name, _ in rules:
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute("DELETE FROM entries")
        raw.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?)",
            [(n, p, b.decode(), h) for n, p, b, h in changed],
        )
        for _, rule in rules:
            raw.execute(rule)
        raw.execute("COMMIT")
    raw.close()


def rechained(found: list[Row], edit) -> list[Row]:
    """Build the whole chain anew, as whoever holds the file can."""
    previous, done = START.hash, []
    for number, (_, _, old, _) in enumerate(found, start=1):
        body = edit(number, json.loads(old))
        text = canonical.canonical_bytes(body | {"sequence": number})
        done.append((number, previous, text, entry_hash(previous, text)))
        previous = done[-1][3]
    return done


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(number=st.integers(0, 6), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_bit_of_any_entry_can_be_flipped(path, original, number, place, bit):
    """One bit is enough to make an epsilon of 4 one of 5."""
    found = rows(original)
    sequence, previous, text, digest = found[number]
    changed = bytearray(text)
    changed[place % len(text)] ^= 1 << bit
    try:
        changed.decode()
    except UnicodeDecodeError:
        changed[place % len(text)] = ord("7") if text[place % len(text)] != 55 else 56
    found[number] = (sequence, previous, bytes(changed), digest)
    overwrite(path, found)
    with pytest.raises(IntegrityError, match=rf"entry {number + 1}\b"):
        register.read(path)
    with pytest.raises(IntegrityError):
        Register.open(path)


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(order=st.permutations(range(7)))
def test_entries_in_another_order_are_refused(path, original, order):
    found = rows(original)
    moved = [(number, *found[place][1:]) for number, place in enumerate(order, start=1)]
    overwrite(path, moved)
    if list(order) == sorted(order):
        register.read(path)
        return
    with pytest.raises(IntegrityError, match="entry"):
        register.read(path)


def test_a_cut_end_shows_against_a_head_kept_elsewhere(path, original):
    """A shorter register is whole in itself: that is why grants and reports name it."""
    whole = register.read(original)
    overwrite(path, rows(original)[:4])
    shorter = register.read(path)
    runs = [len(r.tally.data_sets["digits"].reservations) for r in (shorter, whole)]
    assert runs == [1, 2]
    assert shorter.hash_at(7) is None
    assert shorter.hash_at(3) == whole.hash_at(3)


def test_a_cut_in_the_middle_is_refused(path, original):
    found = rows(original)
    overwrite(path, found[:2] + found[4:])
    with pytest.raises(IntegrityError, match="entry 3"):
        register.read(path)


def test_a_copy_that_went_its_own_way_shows_against_a_head_of_the_other(
    path, original, made, tmp_path
):
    """Two copies of one budget are two budgets; each alone is whole."""
    copy = tmp_path / "copy.sqlite"
    shutil.copy(path, copy)
    make.run_of(tmp_path / "here", made, Charge(register=path))
    make.run_of(tmp_path / "there", made, Charge(register=copy))
    here, there = register.read(path), register.read(copy)
    assert here.tally.head.sequence == there.tally.head.sequence == 9
    assert here.hash_at(7) == there.hash_at(7) == register.read(original).hash_at(7)
    assert here.hash_at(8) != there.hash_at(8)


def test_a_run_begun_in_one_copy_is_unknown_to_the_other(path, made, tmp_path):
    copy = tmp_path / "copy.sqlite"
    shutil.copy(path, copy)
    run = make.run_of(tmp_path / "run", made, Charge(register=path))
    make.train(run, made, "private", 1)
    with pytest.raises(PolicyError, match="began without a reservation"):
        Charge(register=copy).take_up(made, make.DATA, ledger.read(run))


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        (3, {"epsilon": "0.5"}),
        (3, {"delta": "1e-09"}),
        (3, {"delta": "0.00033"}),
        (3, {"refundable": False}),
        (3, {"epsilon": "nan"}),
        (3, {"epsilon": "-1.0"}),
        (3, {"data_set": "others"}),
        (4, {"reservation": "f" * 32}),
        (4, {"kind": "settle"}),
        (3, {"kind": "register"}),
        (3, {"extra": 1}),
    ],
)
def test_a_chain_built_anew_with_a_lower_cost_is_refused(path, original, entry, change):
    """Whoever holds the file can make every hash fit; the events still cost the same.

    The last grant, which names what was before it, is left out here: it would give
    away any change of what it vouches for.
    """

    def edit(number, body):
        return body | change if number == entry else body

    overwrite(path, rechained(rows(original)[:6], edit))
    with pytest.raises(IntegrityError, match=rf"entry {entry}\b"):
        register.read(path)


def test_a_chain_with_one_reservation_too_many_cannot_be_read(path, original):
    """A tool that forgot to look would write it; nobody may then count on it."""
    found = rows(original)
    crowd = [found[0], found[1], *([found[2]] * 5)]

    def edit(number, body):
        return body | ({"reservation": f"run {number}"} if number > 2 else {})

    overwrite(path, rechained(crowd[:6], edit))
    assert register.read(path).tally.data_sets["digits"].left[0] < 1e-3
    overwrite(path, rechained(crowd, edit))
    with pytest.raises(IntegrityError, match=r"entry 7: it takes more than was"):
        register.read(path)


def test_a_grant_vouches_for_everything_before_it(path, original):
    """Fewer steps reserved, every cost right, every hash anew: the officer's word."""

    def edit(number, body):
        if number in {3, 5}:
            body["phases"][0]["steps"] = 1
        return body

    overwrite(path, rechained(rows(original)[:6], edit))
    cheaper = register.read(path)  # alone, this is a register like any other
    assert cheaper.hash_at(3) != register.read(original).hash_at(3)
    overwrite(path, rechained(rows(original), edit))
    with pytest.raises(IntegrityError, match=r"entry 7: .* another place"):
        register.read(path)


@pytest.mark.parametrize("same_register", [True, False])
def test_a_grant_cannot_be_used_twice_or_elsewhere(
    path, original, tmp_path, same_register
):
    """Else an officer's word for one data set would be a blank cheque."""
    envelope = json.loads(rows(original)[6][2])["envelope"]
    if same_register:
        found = rows(original)
    else:
        (tmp_path / "new").mkdir()
        key = make.signer(original.parent)
        other = tmp_path / "new" / "register.sqlite"
        with Register.create(other, key.public) as book:
            book.grant(make.request(), key)
        found, path = rows(other), other
    number, previous = found[-1][0] + 1, found[-1][3]
    body = {"kind": "grant", "sequence": number, "envelope": envelope}
    text = canonical.canonical_bytes(body)
    overwrite(path, [*found, (number, previous, text, entry_hash(previous, text))])
    with pytest.raises(IntegrityError, match=rf"entry {number}: its grant is for"):
        register.read(path)


def test_a_grant_signed_by_a_trainer_does_not_count(path, original, tmp_path):
    found = rows(original)
    trainer = make.signer(tmp_path, Role.TRAINER)
    known = register.read(original).tally.data_sets["digits"].grant
    said = known.model_copy(update={"after": found[-1][3], "epsilon": 99.0})
    statement = signing.statement(
        subjects={},
        predicate_type=grants.PREDICATE_TYPE,
        predicate=said.model_dump(mode="json"),
    )
    envelope = signing.sign(statement, trainer).decode()
    text = canonical.canonical_bytes(
        {"kind": "grant", "sequence": 8, "envelope": envelope}
    )
    row = (8, found[-1][3], text, entry_hash(found[-1][3], text))
    overwrite(path, [*found, row])
    with pytest.raises(
        IntegrityError, match=r"entry 8: it was not signed by the key you trust"
    ):
        register.read(path)


def test_another_secret_key_or_changed_rules_are_noticed(path):
    """The key decides which data are the data set."""
    with sqlite3.connect(path, isolation_level=None) as raw:
        query = "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'secret_%'"
        rules = raw.execute(query).fetchall()
        for name, _ in rules:
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute("UPDATE secret SET key = zeroblob(32)")
        for _, rule in rules:
            raw.execute(rule)
    raw.close()
    with pytest.raises(IntegrityError, match="key of the register"):
        register.read(path)


def test_a_dropped_rule_is_noticed(path):
    with sqlite3.connect(path, isolation_level=None) as raw:
        raw.execute("DROP TRIGGER entries_no_delete")
    raw.close()
    with pytest.raises(IntegrityError, match="rules of register"):
        Register.open(path)


def test_random_damage_to_the_file_is_refused_or_changes_nothing(original, path):
    """Half of the bytes of an SQLite file hold nothing; the others must all count."""
    generator = random.Random(11)  # noqa: S311 - where to damage, no secret
    content, truth = original.read_bytes(), register.read(original)
    refused = 0
    for _ in range(120):
        changed = bytearray(content)
        changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        try:
            found = register.read(path)
        except PrivplanError:
            refused += 1
        else:
            assert found.tally.head == truth.tally.head
            left = [t.data_sets["digits"].left for t in (found.tally, truth.tally)]
            assert left[0] == left[1]
    assert refused > 20


def test_a_ledger_is_not_a_register_and_a_register_is_not_a_ledger(
    path, original, tmp_path
):
    run = original.parent / "one" / "ledger.sqlite"
    with pytest.raises(LedgerError, match="run's ledger, not a register"):
        register.read(run)
    with pytest.raises(IntegrityError):
        ledger.read(path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(LedgerError, match="text is not a register"):
        register.read(tmp_path / "text")
    with pytest.raises(LedgerError, match="register none cannot be used"):
        register.read(tmp_path / "none")


def test_others_may_not_read_a_register_that_is_written_to(path):
    path.chmod(0o644)
    with pytest.raises(PolicyError, match="read or write register"):
        Register.open(path)


def test_a_register_is_never_overwritten(path, tmp_path):
    before = path.read_bytes()
    with pytest.raises(PolicyError, match="a register is never overwritten"):
        Register.create(path, make.signer(tmp_path).public)
    assert path.read_bytes() == before


def test_a_network_disk_is_refused(tmp_path, monkeypatch):
    from privplan import ledger_sqlite

    monkeypatch.setattr(ledger_sqlite, "network_file_system", lambda _: "nfs4")
    with pytest.raises(PolicyError, match="the register would be on a network file"):
        Register.create(tmp_path / "r.sqlite", make.signer(tmp_path).public)
