"""The run ledger as its callers see it: what counts, what is refused, what is bound."""

from __future__ import annotations

import hmac
import json
import os
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privplan import ledger_lock, ledger_mounts, ledger_sqlite
from privplan.errors import (
    BudgetExceededError,
    IntegrityError,
    LedgerError,
    ParameterError,
    PolicyError,
)
from privplan.events import (
    ComposedEvent,
    NoOpEvent,
    PoissonSampledGaussianEvent,
    SelfComposedEvent,
)
from privplan.ledger import (
    Allowance,
    Ledger,
    LedgerContent,
    data_commitment,
    opens_data,
    read,
)

STEP = PoissonSampledGaussianEvent(sample_rate=0.01, noise_multiplier=1.1)
PLAN, DATA, CODE, OTHER = "a" * 64, "b" * 64, "c" * 64, "d" * 64
BOUND = {"plan_digest": PLAN, "data_digest": DATA, "code_digest": CODE}
ALLOWANCES = (
    Allowance(phase="synthetic", event=NoOpEvent(), steps=50),
    Allowance(phase="private", event=STEP, steps=20),
)


def begin(path: Path) -> Ledger:
    return Ledger.create(path, **BOUND, allowances=ALLOWANCES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.sqlite"


def test_reserved_steps_count_whether_or_not_they_are_settled(path):
    """A reservation that only counts once settled is a step nobody wrote down."""
    with begin(path) as ledger:
        ledger.reserve("private", 5)
        ledger.settle("private", 2)
        ledger.reserve("private", 1)
        assert ledger.counted("private") == 6
    content = read(path)
    assert (content.counted("private"), content.unsettled) == (6, 4)
    assert content.counted("synthetic") == 0


def test_the_step_after_the_last_allowed_one_is_refused_and_not_written(path):
    """A cap that is off by one, or that writes first and refuses then, overspends."""
    with begin(path) as ledger:
        ledger.reserve("private", 19)
        head = ledger.head()
        with pytest.raises(BudgetExceededError) as refusal:
            ledger.reserve("private", 2)
        assert ledger.head() == head
        ledger.reserve("private", 1)
        with pytest.raises(BudgetExceededError):
            ledger.reserve("private", 1)
    assert (refusal.value.stage, refusal.value.needed) == ("private", 21)
    assert (refusal.value.target, refusal.value.exit_code) == (20, 3)
    assert read(path).counted("private") == 20


def test_going_back_to_an_older_checkpoint_gives_no_steps_back(path):
    """The branch that was rolled back has been seen; its steps are spent."""
    with begin(path) as ledger:
        ledger.reserve("private", 15)
    with Ledger.resume(path, **BOUND) as ledger:
        with pytest.raises(BudgetExceededError):
            ledger.reserve("private", 6)
        ledger.reserve("private", 5)
        assert ledger.sessions == 2
    assert read(path).sessions == 2


def test_the_spent_event_is_one_step_times_the_steps_begun(path):
    """An accountant that gets anything else computes the epsilon of another run."""
    with begin(path) as ledger:
        assert read(path).spent_event() == ComposedEvent(events=())
        ledger.reserve("private", 3)
        ledger.reserve("private", 4)
    assert read(path).spent_event() == ComposedEvent(
        events=(SelfComposedEvent(event=STEP, count=7),)
    )


def test_a_settle_of_steps_that_this_session_did_not_begin_is_refused(path):
    """Settling burnt steps of a killed session would hide that they were burnt."""
    with begin(path) as ledger:
        ledger.reserve("private", 3)
    with Ledger.resume(path, **BOUND) as ledger:
        with pytest.raises(ParameterError):
            ledger.settle("private", 1)
        ledger.reserve("private", 1)
        ledger.settle("private", 1)
    assert read(path).unsettled == 3


@pytest.mark.parametrize("count", [0, -1, 1.5, True, float("nan"), "1", 2**60])
def test_a_count_that_is_no_whole_number_above_zero_is_refused(path, count):
    """A negative or NaN reservation would give budget back, or compare as small."""
    with begin(path) as ledger:
        head = ledger.head()
        for verb in (ledger.reserve, ledger.settle):
            with pytest.raises(ParameterError):
                verb("private", count)
        assert ledger.head() == head


def test_an_unknown_phase_is_refused_everywhere(path):
    """A phase that is counted under a misspelt name is not counted at all."""
    with begin(path) as ledger:
        for call in (
            lambda: ledger.reserve("privat", 1),
            lambda: ledger.settle("privat", 1),
            lambda: ledger.counted("privat"),
            lambda: read(path).counted("privat"),
        ):
            with pytest.raises(ParameterError, match="privat"):
                call()


@pytest.mark.parametrize(
    ("changed", "word"),
    [("plan_digest", "plan"), ("data_digest", "data"), ("code_digest", "code")],
)
def test_resuming_with_another_plan_data_set_or_code_is_refused(path, changed, word):
    """The steps already counted belong to one plan on one data set."""
    begin(path).close()
    before = path.read_bytes()
    with pytest.raises(PolicyError, match=f"not the {word} that"):
        Ledger.resume(path, **(BOUND | {changed: OTHER}))
    assert path.read_bytes() == before


def test_a_refusal_names_everything_that_changed(path):
    """Fixing one difference only to meet the next one wastes an operator's night."""
    begin(path).close()
    with pytest.raises(PolicyError, match="plan and data and code"):
        Ledger.resume(path, plan_digest=OTHER, data_digest=OTHER, code_digest=OTHER)


def test_a_code_change_is_allowed_only_on_request_and_stays_visible(path):
    """A report must be able to say that two programs trained one model."""
    begin(path).close()
    changed = BOUND | {"code_digest": OTHER}
    Ledger.resume(path, **changed, allow_code_change=True).close()
    with pytest.raises(PolicyError):
        Ledger.resume(path, **BOUND)
    opened = [entry for entry in read(path).entries if entry.kind == "open"]
    assert [entry.body["code_digest"] for entry in opened] == [CODE, OTHER]
    assert read(path).code_digest == OTHER


def test_a_code_change_does_not_let_another_plan_or_data_set_in(path):
    """The flag is for code; nothing else may ride along."""
    begin(path).close()
    for changed in ("plan_digest", "data_digest"):
        with pytest.raises(PolicyError):
            Ledger.resume(path, **(BOUND | {changed: OTHER}), allow_code_change=True)


def test_the_newest_session_fences_every_older_one(path):
    """A lock can be lost, as here; two that both train would spend the plan twice."""
    first = begin(path)
    first.reserve("private", 2)
    ledger_lock.lock_path(path).unlink()
    second = Ledger.resume(path, **BOUND)
    for verb in (
        lambda: first.reserve("private", 1),
        lambda: first.settle("private", 1),
        lambda: first.record_release("checkpoint", OTHER),
        lambda: first.record_unsafe("unsafe_seed"),
        first.abort,
    ):
        with pytest.raises(PolicyError, match="another process"):
            verb()
    second.reserve("private", 3)
    first.close()
    second.close()
    assert read(path).counted("private") == 5


def test_an_aborted_session_reserves_no_more_and_gives_nothing_back(path):
    """A run that failed keeps what it began."""
    with begin(path) as ledger:
        ledger.reserve("private", 4)
        ledger.abort()
        with pytest.raises(PolicyError, match="gave up"):
            ledger.reserve("private", 1)
    assert (read(path).counted("private"), read(path).aborted) == (4, True)
    with Ledger.resume(path, **BOUND) as ledger:
        ledger.reserve("private", 1)
    assert (read(path).counted("private"), read(path).aborted) == (5, False)


def test_a_confession_stays_in_the_ledger_for_good(path):
    """A seeded run could otherwise be resumed without the seed and look clean."""
    with begin(path) as ledger:
        assert read(path).unsafe == ()
        ledger.record_unsafe("unsafe_seed")
        ledger.reserve("private", 1)
    with Ledger.resume(path, **BOUND) as ledger:
        ledger.reserve("private", 1)
    assert (read(path).unsafe, read(path).counted("private")) == (("unsafe_seed",), 2)


def test_a_closed_ledger_reserves_nothing(path):
    """A trainer that outlives its ledger must not go on."""
    ledger = begin(path)
    ledger.close()
    ledger.close()
    with pytest.raises(PolicyError, match="closed"):
        ledger.reserve("private", 1)


def test_a_release_is_recorded_and_leaves_one_file_that_can_be_copied(path, tmp_path):
    """A copy that lacks the journal would lack the newest steps."""
    with begin(path) as ledger:
        ledger.reserve("private", 4)
        ledger.record_release("checkpoint", OTHER, step=4, format="safetensors")
        shutil.copy(path, tmp_path / "copy.sqlite")
        copy = read(tmp_path / "copy.sqlite")
        assert copy.head == ledger.head()
    assert copy.entries[-1].body["facts"] == {"step": 4, "format": "safetensors"}
    assert copy.counted("private") == 4
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "copy.sqlite",
        "run.sqlite",
    ]


def test_a_ledger_never_takes_the_place_of_a_file(path):
    """Overwriting a ledger forgets everything that was spent."""
    path.write_text("something precious")
    with pytest.raises(PolicyError, match="never overwritten"):
        begin(path)
    assert path.read_text() == "something precious"


def test_a_leftover_journal_is_not_taken_for_that_of_a_new_ledger(path, tmp_path):
    """SQLite would replay the journal of a deleted ledger into the new one."""
    (tmp_path / "run.sqlite-wal").write_bytes(b"x")
    with pytest.raises(PolicyError, match="journal"):
        begin(path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.sqlite-wal"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_only_the_owner_may_read_a_ledger_in_use(path):
    """The key in it lets its holder test guesses of the data."""
    with begin(path) as ledger:
        ledger.reserve("private", 1)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    path.chmod(0o640)
    with pytest.raises(PolicyError, match="others") as refusal:
        Ledger.resume(path, **BOUND)
    assert "chmod 600" in refusal.value.hint
    assert read(path).counted("private") == 1


def test_a_ledger_on_a_network_file_system_is_refused(path, tmp_path, monkeypatch):
    """Locks and shared memory do not hold between two machines."""
    begin(path).close()
    table = tmp_path / "mounts"
    table.write_text(f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(ledger_mounts, "_MOUNTS", table)
    with pytest.raises(PolicyError, match="nfs4"):
        begin(tmp_path / "new.sqlite")
    with pytest.raises(PolicyError, match="nfs4"):
        Ledger.resume(path, **BOUND)
    assert read(path).sessions == 1
    monkeypatch.setattr(ledger_mounts, "_MOUNTS", tmp_path / "no such file")
    Ledger.resume(path, **BOUND).close()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("h:/x /data fuse.sshfs rw 0 0", "fuse.sshfs"),
        ("h:/x /database nfs rw 0 0", "ext4"),
        ("/dev/b /data xfs rw 0 0\nh:/x /data nfs rw 0 0", "nfs"),
        ("h:/x /data nfs rw 0 0\n/dev/b /data/local xfs rw 0 0", "xfs"),
        ("nonsense", "ext4"),
    ],
)
def test_the_deepest_and_latest_mount_decides(line, kind):
    """A local disk mounted below NFS is local; a name that only starts alike is not."""
    table = f"/dev/a / ext4 rw 0 0\n{line}\n"
    assert ledger_mounts.file_system(Path("/data/local"), table) == kind


def test_a_locked_ledger_reserves_nothing(path, monkeypatch):
    """A reservation that timed out must not look like one that succeeded."""
    monkeypatch.setattr(ledger_sqlite, "_LOCK_SECONDS", 0.05)
    with begin(path) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked"):
            ledger.reserve("private", 1)
        other.execute("ROLLBACK")
        other.close()
        assert ledger.counted("private") == 0
        ledger.reserve("private", 1)
    assert read(path).counted("private") == 1


def test_a_ledger_that_was_deleted_or_replaced_under_a_run_stops_it(path, tmp_path):
    """Writing to a deleted file is durable and forgotten at once."""
    ledger = begin(path)
    ledger.record_release("checkpoint", OTHER)
    kept = tmp_path / "kept.sqlite"
    path.rename(kept)
    with pytest.raises(LedgerError, match="moved, deleted or replaced"):
        ledger.reserve("private", 1)
    shutil.copy(kept, path)
    with pytest.raises(LedgerError, match="moved, deleted or replaced"):
        ledger.reserve("private", 1)
    path.unlink()
    kept.rename(path)
    ledger.reserve("private", 1)
    ledger.close()


def test_a_ledger_rolled_back_under_a_run_stops_it(path):
    """Rows can vanish while the file stays; the session remembers its last one."""
    ledger = begin(path)
    ledger.reserve("private", 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DROP TRIGGER entries_no_delete")
    other.execute("DELETE FROM entries WHERE sequence = 3")
    other.close()
    with pytest.raises(IntegrityError, match="entry 3"):
        ledger.reserve("private", 1)
    ledger.close()


def test_an_interrupt_after_the_commit_neither_loses_steps_nor_fences(
    path, monkeypatch
):
    """Ctrl-C may come between the disk and our memory; the disk is right."""
    with begin(path) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(type(ledger._session.tally), "follow", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                ledger.reserve("private", 2)
        ledger.reserve("private", 1)
        assert ledger.counted("private") == 3
    assert read(path).counted("private") == 3


def _interrupted(*_args):
    raise KeyboardInterrupt


def test_a_failure_while_creating_leaves_no_half_made_ledger(path, monkeypatch):
    """A half-made ledger could be neither resumed nor created again."""

    def full(_connection):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ledger_sqlite, "make_schema", full)
        with pytest.raises(LedgerError, match="full"):
            begin(path)
    assert list(path.parent.iterdir()) == []
    begin(path).close()


def test_a_ledger_knows_its_data_set_without_showing_its_digest(path):
    """A plain digest lets anyone who knows all other records test a guess of one."""
    with begin(path) as ledger:
        ledger.reserve("private", 1)
    content = read(path)
    assert opens_data(content, DATA)
    assert not opens_data(content, OTHER)
    assert DATA.encode() not in path.read_bytes()
    assert bytes.fromhex(DATA) not in path.read_bytes()
    assert content.data_key.hex() not in repr(content)
    with pytest.raises(ParameterError) as refusal:
        opens_data(content, "secret")
    assert "secret" not in str(refusal.value)


def test_two_ledgers_or_two_documents_of_one_data_set_cannot_be_linked(path, tmp_path):
    """Equal values would say that the data did not change in between."""
    begin(path).close()
    begin(tmp_path / "second.sqlite").close()
    first, second = read(path), read(tmp_path / "second.sqlite")
    stored = {c.entries[0].body["data_commitment"] for c in (first, second)}
    published = {
        data_commitment(content, nonce)
        for content in (first, second)
        for nonce in (b"1" * 16, b"2" * 16)
    }
    assert (len(stored), len(published)) == (2, 4)
    # a second route: what the owner of the key computes from the data
    tagged = b"privplan-ledger-data/1\0" + bytes.fromhex(DATA)
    inner = hmac.digest(first.data_key, tagged, "sha256")
    outer = hmac.digest(first.data_key, b"1" * 16 + inner, "sha256")
    assert data_commitment(first, b"1" * 16) == outer.hex()
    with pytest.raises(ParameterError, match="nonce"):
        data_commitment(first, b"short")


def test_intents_and_settlements_carry_no_time(path):
    """The time of a step shows the size of its Poisson batch, which is private."""
    with begin(path) as ledger:
        ledger.reserve("private", 1)
        ledger.settle("private", 1)
    for entry in read(path).entries:
        if entry.kind in {"intent", "settle"}:
            assert set(entry.body) == {"kind", "sequence", "session", "phase", "count"}


def test_every_commit_is_forced_to_disk(path):
    """With synchronous=NORMAL a power cut forgets steps, and no killed process does."""
    begin(path).close()
    with Ledger.resume(path, **BOUND) as ledger:
        connection = ledger._session._store._connection
        settings = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "trusted_schema")
        ]
        assert settings == ["wal", 2, 0]


def test_reading_changes_no_byte_and_leaves_no_file(path):
    """Evidence that changes when it is looked at is no evidence."""
    with begin(path) as ledger:
        for pending in (False, True):
            ledger.reserve("private", 1)
            if not pending:
                ledger.record_release("checkpoint", OTHER)
            before = _folder(path.parent)
            assert read(path).head == ledger.head()
            assert _folder(path.parent) == before
    closed = _folder(path.parent)
    path.parent.chmod(0o500)
    path.chmod(0o400)
    try:
        assert read(path).counted("private") == 2
    finally:
        path.parent.chmod(0o700)
    assert _folder(path.parent) == closed
    assert set(closed) == {"run.sqlite"}


def _folder(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    "allowances",
    [
        (),
        (ALLOWANCES[0], ALLOWANCES[0]),
    ],
)
def test_a_run_without_phases_or_with_one_name_twice_is_refused(path, allowances):
    """Two phases of one name would share, or shadow, one allowance."""
    with pytest.raises(ParameterError):
        Ledger.create(path, **BOUND, allowances=allowances)
    assert not path.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": float("nan")},
        {"phase": ""},
        {"event": SelfComposedEvent(event=STEP, count=2)},
        {"event": ComposedEvent(events=(STEP,))},
    ],
)
def test_an_allowance_is_for_steps_of_one_leaf_event(wrong):
    """A composed event per step would multiply the spend behind the count."""
    with pytest.raises(ParameterError):
        Allowance(**({"phase": "private", "event": STEP, "steps": 1} | wrong))


@pytest.mark.parametrize("name", ["plan_digest", "data_digest", "code_digest"])
@pytest.mark.parametrize("value", ["", "xyz", "A" * 64, "a" * 63, "é" * 64])
def test_a_malformed_digest_is_refused_and_not_repeated(path, name, value):
    """A typed-in digest that matches nothing binds the run to nothing."""
    with pytest.raises(ParameterError, match=name) as refusal:
        Ledger.create(path, **(BOUND | {name: value}), allowances=ALLOWANCES)
    assert not value or value not in refusal.value.message


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("reserve"),
            st.sampled_from(["synthetic", "private"]),
            st.integers(1, 12),
        ),
        st.tuples(
            st.just("settle"),
            st.sampled_from(["synthetic", "private"]),
            st.integers(1, 12),
        ),
        st.tuples(st.sampled_from(["resume", "release", "abort"])),
    ),
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_any_history_reads_back_as_a_plain_count_of_what_was_granted(actions):
    """Two routes to one truth: the ledger, and a dictionary that adds."""
    begun = {"synthetic": 0, "private": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.sqlite"
        ledger, sessions = begin(path), 1
        for action in actions:
            match action:
                case ("reserve", phase, count):
                    try:
                        ledger.reserve(phase, count)
                    except (BudgetExceededError, PolicyError):
                        continue
                    begun[phase] += count
                case ("settle", phase, count):
                    _settle_if_allowed(ledger, phase, count)
                case ("resume",):
                    ledger.close()
                    ledger, sessions = Ledger.resume(path, **BOUND), sessions + 1
                case ("release",):
                    ledger.record_release("checkpoint", OTHER)
                case _:
                    ledger.abort()
        content = read(path)
        assert content.head == ledger.head()
        ledger.close()
        _agree(content, begun, sessions)
        _agree(read(path), begun, sessions)


def _settle_if_allowed(ledger: Ledger, phase: str, count: int) -> None:
    try:
        ledger.settle(phase, count)
    except (ParameterError, PolicyError):
        return


def _agree(content: LedgerContent, begun: dict[str, int], sessions: int) -> None:
    assert dict(content.begun) == begun
    assert content.sessions == sessions
    assert begun["private"] <= 20
    assert begun["synthetic"] <= 50
    assert [entry.sequence for entry in content.entries] == list(
        range(1, content.head.sequence + 1)
    )
    assert json.loads(json.dumps(content.entries[0].body)) == content.entries[0].body
