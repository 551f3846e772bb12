"""`privplan plan`: what a budget buys, before anything is spent.

Alone it plans and writes; with `--what-if` it plans and writes nothing. `plan show` and
`plan compare` read plans that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import (
    caption_inputs,
    compare_view,
    latent_inputs,
    oversight,
    plan_inputs,
    plan_saving,
    render,
)
from cli.options import (
    AsJson,
    CaptionColumn,
    Classes,
    Data,
    Delta,
    From,
    ImageSize,
    LatentSpaceFolder,
    MaxRecordsPerUnit,
    Network,
    PublicData,
    Tune,
    UnitColumn,
)
from cli.oversight import RegisterFile, TrustFile
from privplan import network_text, presets, pretrained, summary_json
from privplan import plan as plans
from privplan.candidates import Compute
from privplan.plan_choice import choice_of
from privplan.plan_phases import query_phases
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.presets import Parameterisation, Pretraining
from privplan.stages import Sharing
from privplan.what_if import changed

app = typer.Typer(rich_markup_mode=None)

Timed = Annotated[
    bool, typer.Option("--time", help="Time each phase here, on random pixels.")
]


@app.callback(invoke_without_command=True)
def plan(
    context: typer.Context,
    eps: Annotated[
        float | None, typer.Option("--eps", help="Target epsilon, above 0.")
    ] = None,
    *,
    delta: Delta = None,
    spent: Annotated[
        str | None,
        typer.Option(help="EPSILON,DELTA of earlier runs on these data."),
    ] = None,
    records: Annotated[
        int | None, typer.Option("--n", help="Number of records; becomes public.")
    ] = None,
    data: Data = None,
    stages: Annotated[
        str | None,
        typer.Option(
            "--stages",
            help="Alone: coarse and cleaning synthetic, context private. Or "
            "NAME=SOURCE[@SIGMA],... with the sources private, synthetic, public, "
            "gaussian. Or dpdm, syngen-coarse, syngen-cleaning, syngen-finetune, "
            "finetune-mixture, best. Left away: best, or every stage private where a "
            "parameterisation is pinned.",
        ),
    ] = None,
    share: Annotated[
        Sharing, typer.Option(help="What the stages' networks have in common.")
    ] = Sharing.SEQUENTIAL,
    pretrain: Annotated[
        Pretraining | None, typer.Option(help="Learn from this before any record.")
    ] = None,
    public: PublicData = None,
    begin_from: From = None,
    tune: Tune = "all",
    network: Network = None,
    parameterisation: Annotated[
        Parameterisation | None,
        typer.Option(help="Default edm; gaussian where a stage is."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Private steps.")] = None,
    sample_rate: Annotated[
        float | None, typer.Option(help="Probability of a record per step.")
    ] = None,
    noise_multiplicity: Annotated[
        int | None, typer.Option(help="Noise draws per record and step.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the private steps.")
    ] = None,
    synthetic_steps: Annotated[
        int | None, typer.Option(help="Steps on synthetic or public images.")
    ] = None,
    repair_steps: Annotated[
        int | None,
        typer.Option(help="Synthetic steps after the private ones; synthetic stages."),
    ] = None,
    prior_noise: Annotated[
        float | None, typer.Option(help="Noise multiplier of the Gaussian query.")
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            help="Another query, repeated: labels:50, count:100, mean:20,radius=6, "
            "scores:50,candidates=8, select:epsilon=0.05,candidates=8."
        ),
    ] = None,
    synthetic_weight: Annotated[
        float, typer.Option(help="Of the synthetic gradient; --share mixture.")
    ] = 1.0,
    clipping: Annotated[
        Literal["fixed", "normalised", "adaptive"],
        typer.Option(help="adaptive: C follows the median, inside each step's noise."),
    ] = "fixed",
    arithmetic: Annotated[
        Literal["float64", "discrete"],
        typer.Option(help="discrete: private steps in whole numbers, noise exact."),
    ] = "float64",
    optimiser: Annotated[
        Literal["adam", "adamw", "sgd"], typer.Option(help="Of every phase.")
    ] = "adam",
    mixture: Annotated[
        str | None,
        typer.Option(help="Shares of low,middle,high sigma @ two cuts: 1,6,1@0.1,2."),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Show records also mirrored.")
    ] = False,
    shift: Annotated[
        int, typer.Option(help="Show records also moved by so many pixels.")
    ] = 0,
    compute: Annotated[
        str | None,
        typer.Option(help="Time for the private steps, as 10m: the rest is chosen."),
    ] = None,
    draws: Annotated[
        float | None,
        typer.Option(help="The same in draws: rows through the network, both ways."),
    ] = None,
    image_size: ImageSize = None,
    classes: Classes = None,
    autoencoder: LatentSpaceFolder = None,
    unit_column: UnitColumn = None,
    caption_column: CaptionColumn = None,
    max_records_per_unit: MaxRecordsPerUnit = 1,
    register: RegisterFile = None,
    data_set: Annotated[
        str | None, typer.Option(help="Which data set of the register pays.")
    ] = None,
    trust: TrustFile = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Ask the other accountants now.")
    ] = False,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Show this beside, as steps=50,eps=2; repeated; writes no plan."
        ),
    ] = None,
    time: Timed = False,
    out: Annotated[Path, typer.Option(help="Where the plan goes.")] = Path("plan.json"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace whatever is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Plan what a budget buys; touches no private record.

    Exit code: 0 planned, 2 a number or stage is not allowed, 3 no plan fits the budget,
    5 the plan that is there was approved or run.
    """
    if plan_saving.is_for_a_subcommand(context):
        return
    wishes = Wishes(
        steps=steps, sample_rate=sample_rate, noise_multiplicity=noise_multiplicity,
        synthetic_steps=synthetic_steps, synthetic_weight=synthetic_weight,
        repair_steps=repair_steps, prior_noise=prior_noise, learning_rate=learning_rate,
        queries=query_phases(query or []), clipping=clipping, arithmetic=arithmetic,
        public=plan_inputs.declared_public(public, beside=data),
        pretrained=None if begin_from is None else pretrained.read(begin_from),
    )  # fmt: skip
    known, latent = latent_inputs.in_latents(caption_inputs.declared_data(
        data, records, image_size, classes,
        plan_inputs.unit_of(unit_column, max_records_per_unit), caption_column,
    ), autoencoder)  # fmt: skip
    training = TrainingWishes(
        sharing=share, pretraining=pretrain, parameterisation=parameterisation,
        mixture=plan_inputs.mixture_of(mixture), flip=flip, shift=shift, tune=tune,
        network=None if network is None else network_text.parse(network), latent=latent,
        optimiser=optimiser,
    )  # fmt: skip
    request = PlanRequest(
        target_epsilon=plan_inputs.required(eps), target_delta=delta, data=known,
        earlier=plan_inputs.spent_of(spent), second_opinions=verify,
        stages=presets.stages_of(
            stages, parameterisation, begun=begin_from is not None,
            in_latents=latent is not None, records_per_unit=max_records_per_unit,
        ), training=training, wishes=wishes,
    )  # fmt: skip
    request = replace(request, compute=plan_inputs.compute_of(request, compute, draws))
    if what_if:
        _beside(request, what_if, time=time, as_json=as_json)
        return
    made = make_plan(request)
    room = plan_inputs.room_for(made, register, data_set, oversight.trust(trust))
    kept = plan_saving.save(made, out, room, force=force)
    _show(made, request.compute, time=time, as_json=as_json, about=kept.about)
    kept.tell({
        "--data": data if records is None else "FOLDER", "--image-size": image_size,
        "--public": public, "--from": begin_from, "--autoencoder": autoencoder,
    }, as_json=as_json)  # fmt: skip


@app.command()
def show(
    path: Annotated[
        Path, typer.Argument(metavar="PLAN", help="The plan; default ./plan.json.")
    ] = Path("plan.json"),
    time: Timed = False,
    as_json: AsJson = False,
) -> None:
    """Show a plan that is there, as it was shown when it was made.

    Exit code: 0 shown, 1 there is no plan, 4 it was changed.
    """
    made = plans.read(plan_saving.plan_file(path))
    _show(made, None, time=time, as_json=as_json, about={"path": str(path)})


@app.command()
def compare(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PLAN PLAN...", help="Plans or run folders.")
    ],
    time: Timed = False,
    as_json: AsJson = False,
) -> None:
    """Show plans side by side, and mark what differs.

    Exit code: 0 shown, 1 a plan is missing, 4 one was changed.
    """
    read = [plans.read(plan_saving.plan_file(path)) for path in paths]
    titles = [str(path) for path in paths]
    compare_view.plans(titles, read, time=time, as_json=as_json)


def _beside(
    request: PlanRequest, texts: list[str], *, time: bool, as_json: bool
) -> None:
    """Show alternatives beside the plan; each is calibrated like a plan."""
    asked = [request, *(changed(request, text) for text in texts)]
    made = [make_plan(one) for one in asked]
    compare_view.plans(["as asked", *texts], made, time=time, as_json=as_json)
    if not as_json:
        render.talk("Nothing was written. Leave --what-if away to save the first.")


def _show(
    made: plans.Plan,
    given: Compute | None,
    *,
    time: bool,
    as_json: bool,
    about: Mapping[str, object],
) -> None:
    each = None if given is None else given.seconds_per_draw
    choice = choice_of(made, seconds_per_draw=each)
    seconds: dict[str, float] = {}
    if time:
        from diffusion.plan_speed import phase_seconds  # noqa: PLC0415 - imports torch

        seconds = phase_seconds(made)
    elif choice is not None and choice.chosen.seconds is not None:
        seconds = {made.private_phases[0].name: choice.chosen.seconds}
    if as_json:
        found = summary_json.as_json(made, choice) | {"seconds": seconds}
        render.print_json(found | dict(about))
    else:
        render.plan(made, choice, seconds)
