"""The preflight of a plan: everything is tried on made-up pictures before a record.

    plan -> network, engine, loss, mechanism -> checks -> document, or refusal

No record is near, nothing is counted, and no ledger exists yet. A run whose preflight
fails does not begin. The statistical checks leave their bands with probability 1e-9
each when everything is right, so an honest run is not stopped.
"""

import time

import torch
from torch import nn

from diffusion.data import PrivateImages
from diffusion.loss import Rows
from diffusion.parts import private_network
from diffusion.preflight import gradients, steps, structure
from diffusion.preflight.findings import Check
from diffusion.preflight.gradients import Bench
from diffusion.randomness import RandomSource
from diffusion.record_rows import record_seeds, rows_at
from diffusion.rehearsal import Setting, shaken
from diffusion.releases import Release, made_up, of_plan, setting_of
from diffusion.watching import RunOptions
from privplan.code_identity import source_digest
from privplan.conformance import FALSE_ALARM
from privplan.errors import ParameterError, PolicyError
from privplan.plan import Plan, PrivatePhase
from privplan.preflight import PreflightPart

RECORDS = 3
_DRAWS = 2


def preflight(plan: Plan, options: RunOptions) -> PreflightPart:
    """Try everything a plan will do, on made-up pictures.

    Args:
        plan: The plan.
        options: Engine and device.

    Returns:
        What was measured; every measurement is in its range.

    Raises:
        PolicyError: One is not, or the engine refuses the network; names the layer.
    """
    began = time.perf_counter()
    checks: list[Check] = []
    images = made_up(plan, RECORDS)
    for release in of_plan(plan, options):
        phase = next(p for p in plan.phases if p.name == release.name)
        if isinstance(phase, PrivatePhase):
            network = shaken(private_network(plan).to(options.device))
            setting = setting_of(plan, phase, options)
            exact = setting_of(plan, phase, options, in_float64=True)
            checks += of_network(network, setting, exact, release, images)
        else:
            checks += steps.of_query(release, images)
        stop_at_the_first_failure(checks)
    return PreflightPart(
        format="privplan-preflight/1",
        plan_digest=plan.digest,
        source_digest=source_digest(),
        engine=options.engine,
        device=options.device,
        false_alarm=FALSE_ALARM,
        checks=tuple(check.found for check in checks),
        seconds=time.perf_counter() - began,
    )


def of_network(
    network: nn.Module,
    setting: Setting,
    exact: Setting,
    release: Release,
    images: PrivateImages,
) -> list[Check]:
    """Check one network with its private step.

    Args:
        network: A shaken copy; may be changed.
        setting: The step it will be trained by.
        exact: The same for a network in float64.
        release: The same as a release, in float64.
        images: A few made-up pictures, at least three.

    Raises:
        PolicyError: The engine refuses the network.
    """
    bench = _bench(network, setting, exact, images)
    wide = bench.in_float64()
    checks = structure.check(wide.network, wide.row_loss, wide.rows)
    stop_at_the_first_failure(checks)
    try:
        checks += gradients.check(bench)
        stop_at_the_first_failure(checks)
        checks += steps.check(network, setting, release, images)
    except ParameterError as error:
        raise PolicyError(
            f"preflight: {error.message}; nothing was counted", hint=error.hint
        ) from error
    return checks


def stop_at_the_first_failure(checks: list[Check]) -> None:
    """Refuse if a measurement is out of its range.

    Raises:
        PolicyError: The first of them.
    """
    for check in checks:
        found = check.found
        if not found.holds:
            value = "no number" if found.value is None else f"{found.value:.6g}"
            raise PolicyError(
                f"preflight: {check.problem}: {found.name} is {value}, but must be "
                f"from {found.low:.6g} to {found.high:.6g}; nothing was counted",
                hint=check.cure,
            )


def _bench(
    network: nn.Module, setting: Setting, exact: Setting, images: PrivateImages
) -> Bench:
    draws = min(setting.mechanism.noise_multiplicity, _DRAWS)
    return Bench(
        engine=setting.performance.engine,
        network=network,
        row_loss=setting.loss.row_loss,
        wide_loss=exact.loss.row_loss,
        rows=_rows(setting, images, draws),
        records=images.shape.records,
        draws=draws,
        clipping=setting.mechanism.clipping,
    )


def _rows(setting: Setting, images: PrivateImages, draws: int) -> Rows:
    everyone = torch.arange(images.shape.records)
    seeds = record_seeds(RandomSource().stream(), everyone, records=len(everyone))
    shown, labels = images.batch(everyone)
    rows = rows_at(shown, labels, seeds=seeds, showing=setting.loss.showing(draws))
    return tuple(row.to(setting.performance.device) for row in rows)
