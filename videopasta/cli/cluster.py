"""A run on a cluster: what it would take, and how it gets there."""

import json
from pathlib import Path
from typing import Annotated

import typer

from videopasta.cli.options import ConfigFile, DryRun, Overrides, console
from videopasta.errors import UserError

Calibration = Annotated[
    Path | None,
    typer.Option(help="What `videopasta calibrate` wrote. Default: a rough guess from data sheets"),
]
FleetFile = Annotated[Path | None, typer.Option(help="A cluster.yaml; its nodes and prices. Default: this machine")]
Instances = Annotated[
    Path | None, typer.Option(help="Prices and instance types over those of videopasta/cluster/instances.yaml")
]


def submit(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(help="The Ray dashboard. Default: RAY_ADDRESS, or http://127.0.0.1:8265")
    ] = None,
    working_dir: Annotated[Path, typer.Option(help="Goes along, without what .rayignore names; ≤ 100 MiB")] = Path(),
    wait: Annotated[bool, typer.Option(help="Follow the job's words until it ends")] = True,
) -> None:
    """Run a command of this program as a job: `videopasta submit generate --videos s3://... --out s3://...`."""
    from videopasta.cluster.jobs import Job

    if not context.args:
        raise UserError("no command to submit; write it as without `submit`, with its options behind it: generate ...")
    job = Job(address, ["python", "-m", "videopasta.cli", *context.args], str(working_dir))
    console.print(job.hint, highlight=False, markup=False, soft_wrap=True)
    if wait:
        raise typer.Exit(job.follow(lambda text: console.out(text, end="", highlight=False)))


def calibrate(
    videos: Annotated[str, typer.Argument(help="As of generate; a few like those to come")],
    out: Annotated[Path, typer.Option(help="Gets the calibration, for `videopasta plan --calibration`")],
    config: ConfigFile = None,
    set_: Overrides = None,
    clips: Annotated[int, typer.Option(min=2, help="How many, evenly over the list")] = 24,
    dry_run: DryRun = False,
) -> None:
    """Measure what a clip costs each pool, by a short run whose pairs are thrown away."""
    from videopasta.cluster import calibrate as calibrates
    from videopasta.cluster.profile import write_profile
    from videopasta.cluster.tables import profile_table
    from videopasta.config import GenerateConfig, load_config

    settings = load_config(GenerateConfig, config, set_ or [])
    if dry_run:
        console.print(calibrates.describe(videos, settings, clips), highlight=False, markup=False)
        return
    profile = calibrates.calibrate(videos, settings, clips, console)
    write_profile(profile, out)
    console.print(profile_table(profile))
    console.print(f"{out}: {profile.clips} clips on {profile.machine}", highlight=False)


def plan(
    videos: Annotated[int, typer.Option(min=1, help="How many")],
    config: ConfigFile = None,
    set_: Overrides = None,
    fleet: FleetFile = None,
    nodes: Annotated[
        list[str] | None, typer.Option(help="GROUP=NUMBER: most nodes of a group, over the fleet's file")
    ] = None,
    best_sizes: Annotated[bool, typer.Option(help="Pools that use the fleet best, over the configuration's")] = False,
    calibration: Calibration = None,
    instances: Instances = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of a video; of an estimate only")] = 30.0,
    size: Annotated[str, typer.Option(help="Of a video, WIDTHxHEIGHT; of an estimate only")] = "640x360",
    launch_s: Annotated[float, typer.Option(min=0, help="From asking for a node to having it")] = 240.0,
    spot_mean_h: Annotated[float, typer.Option(min=0.1, help="Mean life of a spot node")] = 8.0,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the plan here as well")] = None,
) -> None:
    """Foretell a generate run: time, GPU-hours, cost, tokens, bytes, and which pool holds it up."""
    from videopasta.cluster import foretell
    from videopasta.cluster.tables import plan_dict, plan_tables
    from videopasta.config import GenerateConfig, load_config

    settings = load_config(GenerateConfig, config, set_ or [])
    made = foretell.foretell(
        settings,
        videos,
        fleet_file=fleet,
        calibration=calibration,
        instances_file=instances,
        footage=foretell.footage(seconds, size),
        launch_s=launch_s,
        spot_mean_h=spot_mean_h,
        nodes=foretell.node_counts(nodes or []),
        best_sizes=best_sizes,
    )
    console.print(*plan_tables(made))
    if json_ is not None:
        json_.write_text(json.dumps(plan_dict(made), indent=2) + "\n")
