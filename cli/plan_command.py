"""`privplan plan`: what a budget buys, before anything is spent."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import oversight, plan_inputs, render
from cli.options import (
    AsJson,
    Classes,
    Data,
    Delta,
    Eps,
    ImageSize,
    PublicData,
)
from cli.oversight import RegisterFile, TrustFile
from privplan import plan as plans
from privplan import summary_json
from privplan.candidates import Compute
from privplan.plan_choice import choice_of
from privplan.plan_phases import query_phases
from privplan.planner import PlanRequest, TrainingWishes, Wishes, make_plan
from privplan.presets import Parameterisation, Pretraining
from privplan.stages import Sharing


def plan(
    eps: Eps,
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
    register: RegisterFile = None,
    data_set: Annotated[
        str | None, typer.Option(help="Which data set of the register pays.")
    ] = None,
    trust: TrustFile = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Ask the other accountants now.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the plan goes.")] = Path("plan.json"),
    as_json: AsJson = False,
) -> None:
    """Plan what a budget buys; touches no private record.

    Exit code: 0 planned, 2 a number or stage is not allowed, 3 no plan fits the budget.
    """
    wishes = Wishes(
        steps=steps,
        sample_rate=sample_rate,
        noise_multiplicity=noise_multiplicity,
        synthetic_steps=synthetic_steps,
        repair_steps=repair_steps,
        prior_noise=prior_noise,
        synthetic_weight=synthetic_weight,
        queries=query_phases(query or []),
        clipping=clipping,
        public=plan_inputs.declared_public(public),
    )
    training = TrainingWishes(
        sharing=share,
        pretraining=pretrain,
        parameterisation=parameterisation,
        mixture=plan_inputs.mixture_of(mixture),
        flip=flip,
        shift=shift,
        optimiser=optimiser,
    )
    request = PlanRequest(
        target_epsilon=eps,
        target_delta=delta,
        earlier=plan_inputs.spent_of(spent),
        data=plan_inputs.declared_data(data, records, image_size, classes),
        stages=plan_inputs.stages_of(stages, parameterisation),
        training=training,
        wishes=wishes,
        second_opinions=verify,
    )
    plan_inputs.check_public(data, public)
    given = plan_inputs.compute_of(request, compute, draws)
    made = make_plan(replace(request, compute=given))
    room = plan_inputs.room_for(made, register, data_set, oversight.trust(trust))
    plans.write(made, out)
    _show(made, given, room, out, as_json=as_json)


def _show(
    made: plans.Plan,
    given: Compute | None,
    room: plan_inputs.Room | None,
    out: Path,
    *,
    as_json: bool,
) -> None:
    each = None if given is None else given.seconds_per_draw
    choice = choice_of(made, seconds_per_draw=each)
    if as_json:
        about = {"path": str(out), "register": room and asdict(room)}
        render.print_json(summary_json.as_json(made, choice) | about)
        return
    render.plan(made, choice)
    if room is not None:
        render.talk(room.sentence)
    render.talk(f"No record was touched. Saved {out}. Next: privplan train {out}")
