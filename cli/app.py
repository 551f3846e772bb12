"""The commands: parse, call, render, exit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import (
    accounting_commands,
    actions,
    approval_commands,
    audit_command,
    audit_view,
    autoencoder_command,
    bench_command,
    budget_commands,
    config_commands,
    demonstration,
    doctor_command,
    evaluation,
    explain_command,
    export_command,
    folders,
    index_command,
    launcher,
    oversight,
    plan_command,
    pretrain_command,
    processes,
    render,
    report_commands,
    report_view,
    sample_inputs,
    trust_commands,
    verification,
)
from cli.live import Wanted
from cli.options import (
    AsJson,
    Data,
    From,
    ImageSize,
    LatentSpaceFolder,
    PublicData,
    RunFolder,
)
from cli.oversight import PolicyFile, RegisterFile, RootKey, TrustFile
from privplan.keys import Role

app = typer.Typer(
    name="privplan",
    help="Plan, enforce and prove a differential-privacy budget for diffusion models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 ok, 1 error, 2 usage, 3 the budget would be exceeded, "
    "4 verification failed, 5 refused by policy.",
)
app.add_typer(plan_command.app, name="plan")
app.command()(bench_command.bench)
app.add_typer(trust_commands.keys_app, name="keys")
app.command()(pretrain_command.pretrain)
app.command("autoencoder")(autoencoder_command.autoencoder)
app.command()(export_command.export)
app.add_typer(trust_commands.ledger_app, name="ledger")
app.add_typer(report_commands.app, name="report")
app.add_typer(budget_commands.budget_app, name="budget")
app.add_typer(approval_commands.trust_app, name="trust")
app.add_typer(config_commands.app, name="config")
app.command()(config_commands.init)
app.command()(doctor_command.doctor)
app.command()(explain_command.explain)
app.command()(index_command.index)
app.command()(approval_commands.approve)
app.command()(approval_commands.countersign)
app.command()(audit_command.preflight)
app.command()(audit_command.audit)


@app.command()
def train(
    context: typer.Context,
    plan_or_run: Annotated[
        Path | None, typer.Argument(help="A plan or run folder; default ./plan.json.")
    ] = None,
    *,
    data: Data = None,
    image_size: ImageSize = None,
    public: PublicData = None,
    begin_from: From = None,
    autoencoder: LatentSpaceFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/<plan>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run.")] = False,
    engine: Annotated[
        Literal["auto", "folded", "vmap", "loop", "opacus"],
        typer.Option(help="Per-example gradients; never changes the claim."),
    ] = "auto",
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where.")] = "cpu",
    devices: Annotated[
        int,
        typer.Option(help="Processes that share the work; never changes the claim."),
    ] = 1,
    rank_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for a process that is silent.")
    ] = 600.0,
    physical_batch: Annotated[
        int | None, typer.Option(help="Records per pass; never changes the claim.")
    ] = None,
    allow_code_change: Annotated[
        bool, typer.Option(help="Resume although privplan's sources changed.")
    ] = False,
    register: RegisterFile = None,
    data_set: Annotated[
        str | None, typer.Option(help="Name the data must have in the register.")
    ] = None,
    refundable: Annotated[
        bool,
        typer.Option(
            "--refundable", help="Reserve delta twice: an early end gives back epsilon."
        ),
    ] = False,
    policy: PolicyFile = None,
    trust: TrustFile = None,
    previews: Annotated[
        bool, typer.Option("--previews", help="Show images as they come; costs time.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(help="JSON lines of progress; default in the run folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry out a plan exactly, or go on with one.

    The ledger is written before each step; a register is charged before the ledger.

    Under torchrun it is one of the processes that carry the plan out together.

    Exit code: 0 finished, 1 interrupted or failed, 3 the budget would be exceeded,
    4 a plan, ledger or checkpoint was changed, 5 other data, plan or code, or a policy
    or register refuses.
    """
    from diffusion.watching import RunOptions  # noqa: PLC0415 - imports torch

    if processes.to_start(devices):
        raise typer.Exit(launcher.start(devices, context.obj))
    with processes.together(rank_timeout) as ranks:
        made, folder = folders.plan_and_folder(plan_or_run, out)
        known = oversight.trust(trust)
        charge = oversight.charge(
            register, known, data_set=data_set, refundable=refundable
        )
        here = processes.device_here(device)
        options = RunOptions(
            charge=charge, engine=engine, device=here, ranks=ranks,
            physical_batch_size=physical_batch,
            allow_code_change=allow_code_change,
            pretrained=actions.weights_of(begin_from),
            autoencoder=actions.space_of(autoencoder, here),
        )  # fmt: skip
        if ranks.first:
            paid = charge is not None
            rules = oversight.keep_rules(
                policy, made, plan_or_run, folder, registered=paid, trusted=known
            )
            options = replace(options, rules=rules)
        finished = actions.run_training(
            made,
            actions.data_of(made, data),
            folder,
            resume=resume, options=options, image_size=image_size, public=public,
            wanted=Wanted(previews=previews, log=log),
        )  # fmt: skip
        if ranks.first:
            given = {"data": data, "public": public, "from": begin_from}
            several = devices if devices > 1 else None
            named = render.named(**given, register=register, devices=several)
            render.training(made, folder, named, finished=finished, as_json=as_json)
    raise typer.Exit(0 if finished else 1)


@app.command()
def sample(
    run: RunFolder = None,
    *,
    count: Annotated[int, typer.Option(help="How many images.")] = 1000,
    sampler: Annotated[
        Literal["heun", "ddim", "dpm-solver-2m"], typer.Option(help="Method.")
    ] = "heun",
    steps: Annotated[int, typer.Option(help="Steps of the sampler.")] = 18,
    guidance: Annotated[float, typer.Option(help="0 is none.")] = 0.5,
    churn: Annotated[float, typer.Option(help="Noise added back; heun only.")] = 0.0,
    eta: Annotated[float, typer.Option(help="1 is stochastic; ddim only.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Repeat the same images.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Classes that take turns, as 3,3,7.  [default: all]"),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Draw images for this text; repeated; of runs on captions."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw images from a finished run; costs no privacy.

    Exit code: 0 drawn, 1 there is no finished run, 2 a text is missing or has no place,
    4 the weights are of another plan.
    """
    from diffusion.sampler import SamplerConfig  # noqa: PLC0415 - imports torch
    from diffusion.sampling import SampleRequest  # noqa: PLC0415

    made, folder = folders.run_folder(run)
    config = SamplerConfig(
        method=sampler,
        steps=steps,
        sigma_min=made.training.sigma_min,
        sigma_max=made.training.sigma_max,
        churn=churn,
        eta=eta,
    )
    request = SampleRequest(
        count=count, guidance=guidance, sampler=config, seed=seed,
        labels=sample_inputs.labels_of(labels, classes=made.data.classes),
        prompts=tuple(prompt or ()),
    )  # fmt: skip
    archive, picture = actions.draw_samples(made, folder, request)
    render.samples(archive, picture, count, as_json=as_json)


@app.command()
def evaluate(
    run: RunFolder = None,
    data: Data = None,
    image_size: ImageSize = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="The held-out images are public: keep the scores for the report.",
        ),
    ] = False,
    features: Annotated[
        str, typer.Option(help="encoder, pixels or inception=FILE, for distances.")
    ] = "encoder",
    records: Annotated[
        bool,
        typer.Option(
            "--records",
            help="Also compare with the training images: a ceiling, and copies. Local.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score samples on held-out images.

    Trains classifiers on the samples, tests them on real images, and measures
    distances; the same for the Gaussian query alone, where the plan has one.
    Scores on private images are shown here and kept nowhere.

    Exit code: 0 scored, 1 no samples or no held-out images.
    """
    made, folder = folders.run_folder(run)
    folders.require_samples(folder)
    source = actions.data_of(made, data)
    exported = public or source == "digits"
    wanted = evaluation.Wanted(
        data=source,
        image_size=image_size,
        public=exported,
        features=features,
        records=records,
    )
    evaluation.show(evaluation.evaluate(made, folder, wanted), as_json=as_json)


@app.command()
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="REPORT", help="The report, or an audit.")
    ],
    *,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="Public key you trust; default the one beside the report."),
    ] = None,
    ledger_file: Annotated[
        Path | None, typer.Option("--ledger", help="Default beside the report.")
    ] = None,
    artefacts: Annotated[
        Path | None, typer.Option(help="Folder of the files the report names.")
    ] = None,
    trust: TrustFile = None,
    root: RootKey = None,
    require: Annotated[
        Literal["officer"] | None,
        typer.Option(help="A role that must have signed beside the trainer."),
    ] = None,
    register: RegisterFile = None,
    anchor: Annotated[
        Path | None, typer.Option(help="Where the ledger stood, kept elsewhere.")
    ] = None,
    policy: PolicyFile = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every claim of a report, or of an audit, offline.

    Exit code: 0 verified, 1 nothing to verify, 4 a step failed, 5 no claim is made.
    """
    if (audited := verification.verify_audit(path, key or [], artefacts)) is not None:
        audit_view.verdict(audited, pinned=bool(key), as_json=as_json)
        raise typer.Exit(audited.exit_code)
    found, pinned = verification.verify_report(
        path,
        trusted=key or [],
        ledger_path=ledger_file,
        folder=artefacts,
        trust=oversight.trust(trust, root),
        asked=verification.Asked(
            require=None if require is None else Role(require),
            register=register,
            anchor=anchor,
            policy=policy,
        ),
    )
    report_view.verdict(found, pinned=pinned, as_json=as_json)
    raise typer.Exit(found.exit_code)


app.command()(accounting_commands.epsilon)
app.command()(accounting_commands.calibrate)


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(help="A fresh folder; default privplan-demo.")
    ] = None,
    eps: Annotated[float, typer.Option("--eps", help="Target epsilon.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Do all of it on the embedded digits, in a fresh folder.

    Exit code: 0 all went well, else that of the step that failed.
    """
    raise typer.Exit(demonstration.run(out, eps, as_json=as_json))
