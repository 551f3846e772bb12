"""Default settings by image size and declared n: public facts in, public constants out.

Nothing here looks at a record. The settings were found on the embedded digits and on
printed letters; `docs/recipes.md` says how. Every one can be overridden.

    longer side     settings     found on
    up to 16        tiny         8 x 8 digits
    up to 32        small        28 x 28 letters, an hour of one processor at n = 60,000
    above           large        nothing; the literature's regularities

Two regularities stand behind the numbers. Under DP-SGD a large sample rate with few
steps beats a small one with many (planner's privacy efficiency); and averaging the
loss of one record over several noise draws before clipping costs no privacy.

Source: Dockhorn et al. 2023, arXiv:2210.09929 (noise multiplicity, EDM settings);
De et al. 2022, arXiv:2204.13650 (large batches).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from privplan import checks

_TINY_SIDE = 16
_SMALL_SIDE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the planner fills in where the user says nothing.

    Attributes:
        sample_rate: Probability of a record per step; the most that is chosen.
        most_expected: The largest expected batch that is chosen.
        steps: Private steps, where the expected batch is not at its largest.
        most_steps: Private steps at most, where records are many enough that each is
            still seen as often.
        noise_multiplicity: Noise draws per record, K.
        max_grad_norm: C, in gradient units; small, so that every record is clipped.
        learning_rate: Of the private steps.
        synthetic_steps: Steps on synthetic images.
        synthetic_batch_size: Images per synthetic step.
        synthetic_learning_rate: Of the synthetic steps.
        generator: Which program draws the synthetic images.
        sigma_min: Lowest sigma, in data units.
        sigma_max: Highest sigma, in data units.
        p_mean: Mean of ln sigma in the loss.
        p_std: Standard deviation of ln sigma in the loss.
        ema_decay: Decay of the averaged weights.
        base_width: Channels of the first level of the network.
        width_multipliers: Channels of each level over `base_width`.
        blocks: Residual blocks per level.
        attention_resolutions: Sides at which attention is used.
        patch: Side of the squares of pixels that become one position.
        gaussian_above: Sigma above which a Gaussian answers alone in `best`, in data
            units.
        prior_learning_rate: Of the private steps, for a network that corrects a
            Gaussian.
        prior_centre: Grey value from which the Gaussian query measures, a guess.
        prior_radius: Root mean square distance from it at which records are pulled
            in, a guess.
        prior_shares: Shares of the query's squared sensitivity: class sums, class
            counts, second moments.
    """

    sample_rate: float
    most_expected: int
    steps: int
    most_steps: int
    noise_multiplicity: int
    max_grad_norm: float
    learning_rate: float
    synthetic_steps: int
    synthetic_batch_size: int
    synthetic_learning_rate: float
    generator: str
    sigma_min: float
    sigma_max: float
    p_mean: float
    p_std: float
    ema_decay: float
    base_width: int
    width_multipliers: tuple[int, ...]
    blocks: int
    attention_resolutions: tuple[int, ...]
    patch: int
    gaussian_above: float
    prior_learning_rate: float
    prior_centre: float = -0.4
    prior_radius: float = 0.75
    prior_shares: tuple[float, float, float] = (0.5, 0.05, 0.45)


_TINY = Recipe(
    sample_rate=0.25,
    most_expected=512,
    steps=100,
    most_steps=100,
    noise_multiplicity=2,
    max_grad_norm=0.2,
    learning_rate=1.2e-2,
    synthetic_steps=600,
    synthetic_batch_size=96,
    synthetic_learning_rate=2e-3,
    generator="strokes",
    sigma_min=0.02,
    sigma_max=10.0,
    p_mean=-0.6,
    p_std=1.2,
    ema_decay=0.98,
    base_width=8,
    width_multipliers=(2, 3),
    blocks=1,
    attention_resolutions=(),
    patch=1,
    gaussian_above=1.0,
    prior_learning_rate=4e-3,
)

_SMALL = Recipe(
    sample_rate=0.1,
    most_expected=1024,
    steps=200,
    most_steps=800,
    noise_multiplicity=1,
    max_grad_norm=0.2,
    learning_rate=3e-3,
    synthetic_steps=800,
    synthetic_batch_size=128,
    synthetic_learning_rate=2e-3,
    generator="drawings",
    sigma_min=0.02,
    sigma_max=20.0,
    p_mean=-0.6,
    p_std=1.2,
    ema_decay=0.99,
    base_width=24,
    width_multipliers=(1, 2),
    blocks=1,
    attention_resolutions=(),
    patch=2,
    gaussian_above=10.0,
    prior_learning_rate=3e-3,
)

_LARGE = Recipe(
    sample_rate=0.1,
    most_expected=512,
    steps=300,
    most_steps=300,
    noise_multiplicity=4,
    max_grad_norm=0.2,
    learning_rate=1e-3,
    synthetic_steps=400,
    synthetic_batch_size=64,
    synthetic_learning_rate=1e-3,
    generator="mix",
    sigma_min=0.002,
    sigma_max=80.0,
    p_mean=-0.8,
    p_std=1.2,
    ema_decay=0.98,
    base_width=16,
    width_multipliers=(1, 2, 2),
    blocks=1,
    attention_resolutions=(7,),
    patch=1,
    gaussian_above=14.0,
    prior_learning_rate=1e-3,
)


def recipe(*, records: int, height: int, width: int) -> Recipe:
    """Return the default settings for images of one size.

    Args:
        records: n, as declared.
        height: In pixels.
        width: In pixels.

    Example:
        >>> recipe(records=1437, height=8, width=8).sample_rate
        0.25
    """
    checks.count(records=records, height=height, width=width)
    found = _by_side(max(height, width))
    rate = float(f"{min(found.sample_rate, found.most_expected / records):.3g}")
    patch = found.patch if height % found.patch == width % found.patch == 0 else 1
    wanted = found.sample_rate * records / found.most_expected
    steps = min(round(found.steps * max(wanted, 1.0)), found.most_steps)
    return replace(found, sample_rate=max(rate, 1e-6), steps=steps, patch=patch)


def _by_side(longer: int) -> Recipe:
    if longer <= _TINY_SIDE:
        return _TINY
    return _SMALL if longer <= _SMALL_SIDE else _LARGE
