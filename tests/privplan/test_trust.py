"""Trust files: who may act as what, and what a revocation takes with it."""

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privplan import moments, trust_file
from privplan.errors import IntegrityError, ParameterError, PolicyError, PrivplanError
from privplan.keys import Role
from privplan.trust import Trust
from tests.privplan.registers import signer

NOW = moments.parse("2026-06-01")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Keys of a root, two officers and two trainers."""
    folder = tmp_path_factory.mktemp("keys")
    roles = {
        "root": Role.ROOT,
        "root2": Role.ROOT,
        "ada": Role.OFFICER,
        "eve": Role.OFFICER,
        "bo": Role.TRAINER,
        "cy": Role.TRAINER,
    }
    return {name: signer(folder, role, name) for name, role in roles.items()}


@pytest.fixture
def path(tmp_path, held):
    path = tmp_path / "trust.json"
    trust_file.new(path, held["root"], owner="office")
    trust_file.add(path, held["ada"].public, held["root"], owner="Ada")
    trust_file.add(
        path, held["bo"].public, held["root"], owner="Bo",
        start="2026-01-01", until="2026-12-31",
    )  # fmt: skip
    return path


def problem(path, key, role, *, written=NOW, now=NOW):
    return trust_file.read(path).problem(
        key.public.keyid, role, written=written, now=now
    )


def test_a_key_counts_in_its_role_and_in_no_other(path, held):
    """A trainer who could grant would pay for himself."""
    assert problem(path, held["ada"], Role.OFFICER) is None
    assert problem(path, held["bo"], Role.TRAINER) is None
    assert "has the role trainer" in problem(path, held["bo"], Role.OFFICER)
    assert "not among" in problem(path, held["eve"], Role.OFFICER)


def test_what_was_signed_in_time_holds_after_the_key_expired(path, held):
    late = moments.parse("2027-06-01")
    assert problem(path, held["bo"], Role.TRAINER, now=late) is None
    assert "is valid from" in problem(path, held["bo"], Role.TRAINER, written=late)
    assert "is valid from" in problem(
        path, held["bo"], Role.TRAINER, written=moments.parse("2025-12-31")
    )
    assert "is valid from" in problem(
        path, held["bo"], Role.TRAINER, written=None, now=late
    )


def test_a_revoked_key_counts_no_more_whatever_date_it_wrote(path, held):
    """A thief writes any date: only the time of asking can be believed."""
    trust_file.revoke(
        path, held["bo"].public.keyid, held["root"], reason="stolen", start="2026-05-01"
    )
    before, after = moments.parse("2026-04-30"), moments.parse("2026-05-01")
    assert problem(path, held["bo"], Role.TRAINER, now=before) is None
    for written in (before, after, None):
        said = problem(path, held["bo"], Role.TRAINER, written=written, now=after)
        assert "revoked from 2026-05-01" in said
        assert "stolen" in said


def test_a_key_vouches_for_its_successor_and_takes_it_along_when_revoked(path, held):
    """The thief of a key would vouch for a key of his own, and then be revoked."""
    trust_file.add(path, held["cy"].public, held["bo"], owner="Cy", start="2026-06-01")
    assert problem(path, held["cy"], Role.TRAINER) is None
    trust_file.revoke(
        path, held["bo"].public.keyid, held["root"], reason="lost", start="2026-05-01"
    )
    assert "vouched for by" in problem(path, held["cy"], Role.TRAINER)
    trust_file.add(path, held["cy"].public, held["root"], owner="Cy")
    assert problem(path, held["cy"], Role.TRAINER) is None
    with pytest.raises(PolicyError, match="was revoked, and stays so"):
        trust_file.add(path, held["bo"].public, held["root"], owner="Bo")


def test_nobody_vouches_beyond_his_role_or_his_time(path, held):
    before = path.read_bytes()
    with pytest.raises(PolicyError, match="may not add a key"):
        trust_file.add(path, held["eve"].public, held["bo"], owner="Eve")
    with pytest.raises(PolicyError, match="not valid when"):
        trust_file.add(
            path, held["cy"].public, held["bo"], owner="Cy", start="2027-02-01"
        )
    with pytest.raises(PolicyError, match="may not revoke"):
        trust_file.revoke(path, held["bo"].public.keyid, held["ada"], reason="x")
    with pytest.raises(PolicyError, match="not in the trust file"):
        trust_file.revoke(path, "0" * 64, held["root"], reason="x")
    with pytest.raises(IntegrityError, match="trusted keys"):
        trust_file.add(path, held["cy"].public, held["eve"], owner="Cy")
    with pytest.raises(ParameterError, match="not a day"):
        trust_file.revoke(
            path, held["bo"].public.keyid, held["root"], reason="x", start="soon"
        )
    assert path.read_bytes() == before


def test_a_key_may_revoke_itself_and_then_says_nothing_more(path, held):
    trust_file.revoke(path, held["bo"].public.keyid, held["bo"], reason="I lost it")
    with pytest.raises(PolicyError):
        trust_file.add(path, held["cy"].public, held["bo"], owner="Cy")


def test_the_root_can_be_changed_by_the_root(path, held):
    """The new root says its own word before the old one goes."""
    trust_file.add(path, held["root2"].public, held["root"], owner="new office")
    trust_file.add(path, held["root2"].public, held["root2"], owner="new office")
    trust_file.add(path, held["eve"].public, held["root2"], owner="Eve")
    trust_file.revoke(path, held["root"].public.keyid, held["root2"], reason="retired")
    later = moments.now() + DAY
    assert "vouched for by" in problem(path, held["ada"], Role.OFFICER, now=later)
    assert problem(path, held["eve"], Role.OFFICER, now=later) is None


def test_a_root_that_a_thief_added_goes_with_the_stolen_one(path, held):
    """Else it would add itself again the moment after."""
    trust_file.add(path, held["root2"].public, held["root"], owner="thief")
    trust_file.revoke(path, held["root"].public.keyid, held["root"], reason="stolen")
    for key in ("root2", "eve"):
        with pytest.raises(PolicyError, match="may not add a key"):
            trust_file.add(path, held[key].public, held["root2"], owner="thief")


def test_the_file_of_another_root_is_another_file(path, held, tmp_path):
    other = tmp_path / "other.json"
    trust_file.new(other, held["root2"], owner="somebody")
    assert trust_file.read(path, root=held["root"].public).links == 3
    with pytest.raises(IntegrityError, match="begins with root key"):
        trust_file.read(other, root=held["root"].public)
    with pytest.raises(PolicyError, match="begins with a root key"):
        trust_file.new(tmp_path / "x.json", held["ada"], owner="Ada")
    with pytest.raises(PolicyError, match="only ever added to"):
        trust_file.new(path, held["root"], owner="again")


def links(path):
    return json.loads(path.read_text())["links"]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: [found[0], found[2], found[1]],
        lambda found: [found[0], found[2]],
        lambda found: found[1:],
        lambda found: [*found, found[2]],
        lambda found: [],
    ],
    ids=["reordered", "one dropped", "first dropped", "repeated", "emptied"],
)
def test_links_cannot_be_moved_dropped_or_repeated(path, change):
    document = json.loads(path.read_text())
    document["links"] = change(document["links"])
    path.write_text(json.dumps(document))
    with pytest.raises(PrivplanError):
        trust_file.read(path)


def test_a_cut_end_shows_in_the_head(path, held):
    """A revocation can be cut off; so the head is shown wherever the file is used."""
    before = trust_file.read(path)
    trust_file.revoke(path, held["bo"].public.keyid, held["root"], reason="x")
    document = json.loads(path.read_text())
    after = trust_file.read(path)
    document["links"].pop()
    path.write_text(json.dumps(document))
    assert trust_file.read(path).head == before.head != after.head
    assert after.links == before.links + 1


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 6))
def test_no_bit_of_a_trust_file_can_be_flipped_to_any_effect(path, place, bit):
    honest = path.read_bytes()
    truth = trust_file.read(path)
    changed = bytearray(honest)
    changed[place % len(honest)] ^= 1 << bit
    other = path.with_name("changed.json")
    other.write_bytes(changed)
    try:
        found = trust_file.read(other)
    except PrivplanError:
        return
    assert (found.head, found.keys) == (truth.head, truth.keys)


def test_keys_chosen_by_the_reader_have_the_roles_of_their_files(held):
    chosen = Trust.of([held["ada"].public])
    keyid = held["ada"].public.keyid
    assert chosen.problem(keyid, Role.OFFICER, written=None, now=NOW) is None
    assert chosen.public_keys(Role.TRAINER) == ()
