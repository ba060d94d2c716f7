"""`videopasta plan`: from files and options to a plan. Reads; computes nothing itself."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import psutil

from videopasta.cluster.estimate import Footage, estimate
from videopasta.cluster.instances import Fleet, InstanceType, NodeGroup, load_instances, read_fleet
from videopasta.cluster.plan import Plan, make_plan, place, pools_of
from videopasta.cluster.profile import read_profile
from videopasta.config import GenerateConfig
from videopasta.errors import UserError
from videopasta.prompts import load_prompts


def foretell(
    config: GenerateConfig,
    videos: int,
    *,
    fleet_file: Path | None,
    calibration: Path | None,
    instances_file: Path | None,
    footage: Footage,
    launch_s: float,
    spot_mean_h: float,
    nodes: Mapping[str, int] = MappingProxyType({}),
    best_sizes: bool = False,
) -> Plan:
    """The plan of a run over `videos`; see `make_plan`.

    Args:
        config: of the run.
        videos: how many clips.
        fleet_file: a cluster.yaml; none: this machine.
        calibration: what `videopasta calibrate` wrote; none: an estimate.
        instances_file: prices and instance types over the shipped ones.
        footage: what the videos are like, for an estimate.
        launch_s: from asking for a node to having it.
        spot_mean_h: mean life of a spot node.
        nodes: most nodes of a group, over the fleet's file.
        best_sizes: pools of the recommended sizes, instead of the configuration's.

    Raises:
        UserError: a file's mistake, a pool that fits nowhere, a model that can only be measured.
    """
    if fleet_file is None:
        fleet = this_machine()
        launch_s = 0.0
    else:
        fleet = read_fleet(str(fleet_file), load_instances(str(instances_file) if instances_file else None))
    fleet = _with_nodes(fleet, nodes)
    if calibration is not None:
        profile = read_profile(calibration)
    else:
        placed = place(pools_of(config), fleet)
        hosts: Mapping[str, InstanceType] = {name: where.group.instance for name, where in placed.items()}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        profile = estimate(config, load_prompts(config.prompts), footage, hosts, made_at=now)
    return make_plan(profile, config, fleet, videos, launch_s=launch_s, spot_mean_h=spot_mean_h, best_sizes=best_sizes)


def _with_nodes(fleet: Fleet, nodes: Mapping[str, int]) -> Fleet:
    known = [group.name for group in fleet.groups]
    for name in nodes:
        if name not in known:
            raise UserError(f"--nodes {name}: {fleet.name} has no such group; it has {', '.join(known)}")
    groups = []
    for group in fleet.groups:
        most = nodes.get(group.name, group.max_nodes)
        groups.append(replace(group, min_nodes=min(group.min_nodes, most), max_nodes=most))
    return replace(fleet, groups=tuple(groups))


def node_counts(given: Sequence[str]) -> dict[str, int]:
    """From GROUP=NUMBER, as `--nodes` has them.

    Raises:
        UserError: one is not like that.
    """
    counts = {}
    for one in given:
        name, _, number = one.partition("=")
        if not number.isdigit():
            raise UserError(f"--nodes {one}: not GROUP=NUMBER, as generate=64")
        counts[name] = int(number)
    return counts


def footage(seconds: float, size: str) -> Footage:
    """From the options of `videopasta plan`.

    Raises:
        UserError: `size` is not WIDTHxHEIGHT.
    """
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"--size {size}: not WIDTHxHEIGHT, as 640x360")
    return Footage(seconds=seconds, width=int(width), height=int(height))


def this_machine() -> Fleet:
    """The machine of this process: one node that is there, without a price."""
    import torch

    gpus = torch.cuda.device_count()
    machine = InstanceType(
        name="this machine",
        cloud="here",
        vcpus=os.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().total / 2**30,
        gpus=gpus,
        gpu=torch.cuda.get_device_name(0) if gpus else None,
    )
    node = NodeGroup(machine.name, machine, 1, 1, spot=False, cpus=machine.vcpus, gpus=gpus, resources={})
    return Fleet(machine.name, None, (node,), idle_timeout_s=0.0)
