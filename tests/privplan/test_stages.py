import itertools

import pytest

from privplan.errors import ParameterError
from privplan.stage_text import ALL_PRIVATE, default_coarse_boundary, parse
from privplan.stages import (
    SIGMA_MAX,
    SIGMA_MIN,
    Source,
    Stage,
    StageAllocation,
    StageName,
    join_intervals,
)

SPELLINGS = [
    "",
    ALL_PRIVATE,
    "context=private",
    "coarse=synthetic,context=private",
    "context=private,cleaning=synthetic@0.5",
    "cleaning=synthetic@0.3,coarse=synthetic@2.0,context=private",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_the_stages_cover_every_sigma_once(text):
    """A gap would be a range of sigma that nothing trains, without an error."""
    stages = parse(text, dimensions=64).stages
    assert stages[0].sigma_max == SIGMA_MAX
    assert stages[-1].sigma_min == SIGMA_MIN
    for above, below in itertools.pairwise(stages):
        assert above.sigma_min == below.sigma_max


@pytest.mark.parametrize("text", SPELLINGS)
def test_the_intervals_of_all_sources_add_up_to_the_whole_range(text):
    allocation = parse(text, dimensions=784)
    pieces = [piece for source in Source for piece in allocation.intervals(source)]
    assert sum(high - low for low, high in pieces) == pytest.approx(
        SIGMA_MAX - SIGMA_MIN, rel=1e-12
    )


def test_stages_alone_means_coarse_and_cleaning_synthetic_context_private():
    sources = {s.name.value: s.source.value for s in parse("", dimensions=64).stages}
    assert sources == {
        "coarse": "synthetic",
        "context": "private",
        "cleaning": "synthetic",
    }


def test_the_boundary_after_the_at_sign_is_the_one_with_the_context():
    stages = parse(
        "coarse=synthetic@2.0,context=private,cleaning=synthetic@0.3", dimensions=64
    ).stages
    assert [(s.sigma_min, s.sigma_max) for s in stages] == [
        (2.0, SIGMA_MAX),
        (0.3, 2.0),
        (SIGMA_MIN, 0.3),
    ]


def test_all_private_is_one_interval_for_the_private_steps():
    assert parse(ALL_PRIVATE, dimensions=64).intervals(Source.PRIVATE) == (
        (SIGMA_MIN, SIGMA_MAX),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("context=private,context=private", "named twice"),
        ("fine=private", "unknown"),
        ("context=borrowed", "unknown source"),
        ("coarse=synthetic,cleaning=synthetic", "'context' is missing"),
        ("coarse=synthetic@0.1,context=private,cleaning=synthetic@2", "overlap"),
        ("coarse=synthetic@2,context=private,cleaning=synthetic@2", "overlap"),
        ("coarse=synthetic@nan,context=private", "no sigma"),
        ("coarse=synthetic@inf,context=private", "no sigma"),
        ("coarse=synthetic@0,context=private", "no sigma"),
        ("coarse=synthetic@-1,context=private", "no sigma"),
        ("coarse=synthetic@two,context=private", "no sigma"),
        ("coarse=synthetic@,context=private", "no sigma"),
        ("context=private@2", "boundary of its own"),
        ("private", "not a stage"),
        ("context=private,", "not a stage"),
    ],
)
def test_a_stage_text_that_means_nothing_is_refused_with_a_way_out(text, says):
    with pytest.raises(ParameterError, match=says) as caught:
        parse(text, dimensions=64)
    assert caught.value.hint


def test_stages_with_a_gap_between_them_are_refused():
    coarse = Stage(
        name=StageName.COARSE, source=Source.SYNTHETIC, sigma_min=3.0, sigma_max=80.0
    )
    context = Stage(
        name=StageName.CONTEXT, source=Source.PRIVATE, sigma_min=0.1, sigma_max=2.0
    )
    with pytest.raises(ParameterError, match="ends at sigma 3"):
        StageAllocation(stages=(coarse, context))
    with pytest.raises(ParameterError, match="out of order"):
        StageAllocation(stages=(context, coarse))
    with pytest.raises(ParameterError, match="no stage"):
        StageAllocation(stages=())


def test_the_coarse_boundary_grows_with_the_size_of_the_image_and_stays_in_range():
    boundaries = [default_coarse_boundary(d) for d in (1, 64, 784, 3072, 10**9)]
    assert boundaries == sorted(boundaries)
    assert boundaries[0] >= 1
    assert boundaries[-1] < SIGMA_MAX


def test_intervals_that_do_not_touch_stay_apart():
    assert join_intervals([(4.0, 80.0), (0.002, 0.1)]) == ((4.0, 80.0), (0.002, 0.1))
