"""Ledgers that somebody edited, cut, rewrote or damaged, and files that are none."""

from __future__ import annotations

import random
import re
import sqlite3
from pathlib import Path

import pytest

from privplan import canonical
from privplan.errors import IntegrityError, LedgerError
from privplan.events import NoOpEvent, PoissonSampledGaussianEvent
from privplan.ledger import Allowance, Ledger, LedgerHead, opens_data, read
from privplan.ledger_entries import NO_HASH, entry_hash

STEP = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)
BOUND = {"plan_digest": "a" * 64, "data_digest": "b" * 64, "code_digest": "c" * 64}
INTENT = 5  # sequence number of an intent in the middle


@pytest.fixture
def path(tmp_path):
    """A finished run of 12 entries: genesis, open, then five intents and settles."""
    path = tmp_path / "run.sqlite"
    allowances = (
        Allowance(phase="synthetic", event=NoOpEvent(), steps=7),
        Allowance(phase="private", event=STEP, steps=20),
    )
    with Ledger.create(path, **BOUND, allowances=allowances) as ledger:
        for _ in range(5):
            ledger.reserve("private", 2)
            ledger.settle("private", 2)
    return path


def tamper(path: Path, *commands: str) -> None:
    """Edit the file as its owner could: rules off, edit, rules back on."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        rules = connection.execute(query).fetchall()
        for name, _ in rules:
            connection.execute(f"DROP TRIGGER {name}")
        for command in commands:
            connection.execute(command)
        for _, rule in rules:
            connection.execute(rule)
    connection.close()


def rewrite(path: Path, keep: int, edit=lambda body: body) -> None:
    """Build the whole chain anew, as whoever holds the file can."""
    previous, rows = NO_HASH, []
    for entry in read(path).entries[:keep]:
        text = canonical.canonical_bytes(edit(dict(entry.body)))
        digest = entry_hash(previous, text)
        rows.append((entry.sequence, previous, text.decode(), digest))
        previous = digest
    inserts = [f"INSERT INTO entries VALUES {row!r}" for row in rows]  # noqa: S608
    tamper(path, "DELETE FROM entries", *inserts)


@pytest.mark.parametrize(
    "command",
    [
        "UPDATE entries SET body = '{}' WHERE sequence = 4",
        "DELETE FROM entries WHERE sequence = 12",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries VALUES (4, 'x', 'x', 'x')",
        "REPLACE INTO entries VALUES (12, 'x', 'x', 'x')",
        "INSERT INTO entries VALUES (99, 'x', 'x', 'x')",
        "UPDATE secret SET key = x'00'",
        "DELETE FROM secret",
        "REPLACE INTO secret VALUES (1, x'00')",
    ],
)
def test_the_file_itself_refuses_to_change_or_drop_a_line(path, command):
    """A slip in another tool must not be able to do what only an attacker wants."""
    before = path.read_bytes()
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(command)
    connection.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("row", "command"),
    [
        (4, "UPDATE entries SET body = replace(body, ':2', ':1') WHERE sequence = 4"),
        (4, "UPDATE entries SET body = '' WHERE sequence = 4"),
        (4, "UPDATE entries SET body = x'ff' WHERE sequence = 4"),
        (4, "UPDATE entries SET hash = previous WHERE sequence = 4"),
        (4, "UPDATE entries SET hash = 'é' WHERE sequence = 4"),
        (4, "UPDATE entries SET previous = hash WHERE sequence = 4"),
        (4, "DELETE FROM entries WHERE sequence = 4"),
        (1, "DELETE FROM entries WHERE sequence = 1"),
        (1, "UPDATE entries SET body = replace(body, '20', '90') WHERE sequence = 1"),
        (
            4,
            "UPDATE entries SET (previous, body, hash) = (SELECT previous, body, hash "
            "FROM entries AS other WHERE other.sequence = 11 - entries.sequence) "
            "WHERE sequence IN (4, 7)",
        ),
        (13, "INSERT INTO entries SELECT 13, previous, body, hash FROM entries "
             "WHERE sequence = 11"),
        (12, "UPDATE entries SET sequence = 13 WHERE sequence = 12"),
    ],
)  # fmt: skip
def test_an_edited_deleted_or_swapped_line_is_found_at_that_line(path, row, command):
    """An officer who is only told 'broken' cannot see what was hidden."""
    tamper(path, command)
    with pytest.raises(IntegrityError, match=rf"entry {row}\b"):
        read(path)
    with pytest.raises(IntegrityError, match=rf"entry {row}\b"):
        Ledger.resume(path, **BOUND)


def test_an_edited_line_with_a_hash_that_fits_breaks_the_next_one(path):
    """The chain is only a chain if every line is tied to the one before it."""
    entry = read(path).entries[3]
    text = canonical.canonical_bytes(entry.body | {"count": 1})
    values = (text.decode(), entry_hash(entry.previous, text))
    tamper(
        path,
        f"UPDATE entries SET (body, hash) = {values!r} WHERE sequence = 4",  # noqa: S608
    )
    with pytest.raises(IntegrityError, match="entry 5"):
        read(path)


def test_a_second_beginning_is_refused(path):
    """It would set every count back to zero in the middle of a ledger."""
    first = read(path).entries[0].body
    rewrite(
        path, 4, lambda old: first | {"sequence": 4} if old["sequence"] == 4 else old
    )
    with pytest.raises(IntegrityError, match="entry 4"):
        read(path)


def test_a_cut_end_shows_only_against_a_head_kept_elsewhere(path):
    """The chain of a shorter ledger is whole; nothing inside it can say otherwise."""
    head = read(path).head
    tamper(path, "DELETE FROM entries WHERE sequence > 4")
    shorter = read(path)
    assert shorter.counted("private") == 2
    assert shorter.hash_at(head.sequence) is None
    assert shorter.hash_at(0) is None
    with Ledger.resume(path, **BOUND) as ledger:
        assert ledger.hash_at(head.sequence) is None
        while ledger.head().sequence < head.sequence:
            ledger.reserve("private", 1)
        assert ledger.hash_at(head.sequence) not in {None, head.hash}


def test_a_chain_written_anew_shows_only_against_a_head_kept_elsewhere(path):
    """Whoever holds the whole file can make every hash fit again."""
    head = read(path).head

    def one_step_less(body):
        return body | ({"count": 1} if body.get("count") == 2 else {})

    rewrite(path, keep=12, edit=one_step_less)
    forged = read(path)
    assert forged.counted("private") == 5
    assert forged.hash_at(head.sequence) not in {None, head.hash}


def test_an_untouched_ledger_contains_every_head_it_ever_had(path):
    """The comparison with an anchor must not cry wolf when a run goes on."""
    heads = [LedgerHead(sequence=e.sequence, hash=e.hash) for e in read(path).entries]
    with Ledger.resume(path, **BOUND) as ledger:
        ledger.reserve("private", 1)
        assert all(ledger.hash_at(head.sequence) == head.hash for head in heads)
    assert all(read(path).hash_at(head.sequence) == head.hash for head in heads)


@pytest.mark.parametrize(
    ("row", "edit"),
    [
        (INTENT, {"count": 99}),
        (INTENT, {"count": 0}),
        (INTENT, {"count": -2}),
        (INTENT, {"count": True}),
        (INTENT, {"count": "2"}),
        (INTENT, {"session": 2}),
        (INTENT, {"phase": "synthetic "}),
        (INTENT, {"kind": "gift"}),
        (INTENT, {"kind": "genesis"}),
        (INTENT, {"sequence": 7}),
        (INTENT, {"note": "hello"}),
        (1, {"format": "privplan-ledger/2"}),
        (1, {"allowances": [{"phase": "private", "steps": 20}]}),
        (1, {"allowances": []}),
        (2, {"session": 7}),
    ],
)
def test_a_chain_that_is_whole_but_says_what_no_ledger_says_is_refused(path, row, edit):
    """Hashes that fit do not make steps allowed."""
    rewrite(path, 12, lambda body: body | (edit if body["sequence"] == row else {}))
    with pytest.raises(IntegrityError, match=rf"entry {row}\b"):
        read(path)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "abort", "session": 1, "time": "2024-01-01T00:00:00+00:00"},
        {
            "kind": "open",
            "session": 2,
            "code_digest": "c" * 64,
            "nonce": "n",
            "time": "now",
        },
    ],
)
def test_steps_of_a_session_that_gave_up_or_was_fenced_are_refused(path, body):
    """Such an entry means that the fence did not hold: two processes trained."""
    rewrite(
        path, 12, lambda old: body | {"sequence": 4} if old["sequence"] == 4 else old
    )
    with pytest.raises(IntegrityError, match="entry 5"):
        read(path)


def test_a_settlement_that_was_never_begun_is_refused_when_read(path):
    """Settled steps above begun ones would make the run look complete."""
    rewrite(
        path, 12, lambda body: body | ({"count": 3} if body["kind"] == "settle" else {})
    )
    with pytest.raises(IntegrityError, match="entry 4"):
        read(path)


@pytest.mark.parametrize(
    "command",
    [
        "DROP TRIGGER entries_no_update",
        "CREATE TABLE extra (x)",
        "CREATE VIEW more AS SELECT * FROM entries",
        "CREATE TRIGGER sly AFTER INSERT ON entries BEGIN SELECT 1; END",
    ],
)
def test_a_ledger_whose_rules_were_changed_is_refused(path, command):
    """Rules that are gone protect nothing; rules that were added may do anything."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(command)
    connection.close()
    for opening in (lambda: read(path), lambda: Ledger.resume(path, **BOUND)):
        with pytest.raises(IntegrityError, match="rules"):
            opening()


def test_a_ledger_with_another_key_is_refused(path):
    """With another key the commitment would bind to another data set, or to none."""
    for command in (
        "UPDATE secret SET key = randomblob(32)",
        "DELETE FROM secret",
    ):
        tamper(path, command)
        with pytest.raises(IntegrityError, match="key"):
            read(path)


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path, tmp_path):
    """A wrong path must give one clear line, and must never create a file."""
    database = tmp_path / "other.sqlite"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE entries (x)")
    connection.commit()
    connection.close()
    whole = path.read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello\n" * 1000,
        "header": whole[:100],
        "one page": whole[:4096],
        "cut": whole[: len(whole) - 4096],
        "cut inside a page": whole[: len(whole) - 1000],
        "other database": database.read_bytes(),
        "zeros behind the magic": whole[:16] + bytes(len(whole) - 16),
    }
    for name, content in contents.items():
        file = tmp_path / "file.sqlite"
        file.write_bytes(content)
        file.chmod(0o600)
        before = sorted(tmp_path.iterdir())
        for opening in (read, lambda file: Ledger.resume(file, **BOUND)):
            with pytest.raises(LedgerError):
                opening(file)
        assert file.read_bytes() == content, name
        assert sorted(tmp_path.iterdir()) == before, name


def test_a_missing_ledger_or_a_folder_is_refused_and_nothing_is_made(tmp_path):
    """SQLite would happily make an empty database of any name it is given."""
    for path in (tmp_path / "missing.sqlite", tmp_path, Path(), tmp_path / "no" / "x"):
        with pytest.raises(LedgerError):
            read(path)
        with pytest.raises(LedgerError):
            Ledger.resume(path, **BOUND)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flips", [300, pytest.param(1500, marks=pytest.mark.slow)])
def test_no_flipped_bit_is_read_as_a_different_count(path, flips):
    """A damaged file may be refused or be as good as whole; never smaller."""
    generator = random.Random(20240607)  # noqa: S311 - which bits to flip, no secret
    truth, content = read(path), path.read_bytes()
    refused = 0
    for _ in range(flips):
        bit = generator.randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = read(path)
        except (LedgerError, IntegrityError):
            refused += 1
            continue
        assert (found.head, found.entries) == (truth.head, truth.entries), bit
        assert found.spent_event() == truth.spent_event(), bit
        assert opens_data(found, BOUND["data_digest"]), bit
    # The rest fell on unused parts of pages; with no refusals nothing was tested.
    assert refused > flips / 10


def test_every_flipped_bit_of_every_line_is_refused(path):
    """The random flips mostly hit empty space; these hit only what is written."""
    content = path.read_bytes()
    body = read(path).entries[INTENT - 1].body
    written = canonical.canonical_bytes(body)
    places = [match.start() for match in re.finditer(re.escape(written), content)]
    assert places, "the entry must be found in the file"
    for bit in range(8 * len(written)):
        damaged = bytearray(content)
        for place in places:
            damaged[place + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises((LedgerError, IntegrityError)):
            read(path)
