"""A short run that is thrown away, to learn what a clip costs: around `generate.run` and `profile.measure`."""

import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from videopasta import scratch, storage
from videopasta.cluster.profile import Profile, measure
from videopasta.config import GenerateConfig
from videopasta.generate import run
from videopasta.generate.summary import RunSummary
from videopasta.generate.work import Work
from videopasta.pairs import PairStore
from videopasta.progress import ClipProgress


def calibrate(videos: str, config: GenerateConfig, num_clips: int, console: Console) -> Profile:
    """Run `num_clips` clips of `videos`, evenly over the list, and measure.

    Raises:
        UserError: as `run.plan_run`; fewer than two clips came through.
    """
    config = with_fixed_pools(config)
    with tempfile.TemporaryDirectory(prefix=scratch.prefix("calibrate")) as folder:
        store = PairStore(folder)
        chosen = run.plan_run(videos, store, config).only(num_clips)
        store.open(run.run_fingerprint(config, chosen.prompts))
        works: list[Work] = []
        with run.ray_cluster(config), ClipProgress(console, len(chosen.missing)) as progress:

            def tell(work: Work, so_far: RunSummary) -> None:
                works.append(work)
                progress.update(f"{so_far.num_pairs} pairs")

            started_at = time.time()
            run.generate(chosen, store, config, on_work=tell)
            machine = _machine()
        output_bytes = sum(
            file.size_bytes or 0
            for kind in ("candidates", "pairs")
            for file in storage.list_files(storage.join(folder, kind))
        )
    return measure(
        works,
        config,
        started_at=started_at,
        machine=machine,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        output_bytes=output_bytes,
    )


def describe(videos: str, config: GenerateConfig, num_clips: int) -> str:
    """What `calibrate` would run, for people.

    Raises:
        UserError: as `run.plan_run`.
    """
    config = with_fixed_pools(config)
    with tempfile.TemporaryDirectory(prefix=scratch.prefix("calibrate")) as folder:
        plan = run.plan_run(videos, PairStore(folder), config)
    told = f"{len(plan.only(num_clips).missing)} of {plan.num_entries} clips, whose pairs are thrown away"
    return f"{told}\n{run.describe_pools(config)}"


def with_fixed_pools(config: GenerateConfig) -> GenerateConfig:
    """`config` whose pools stay at their smallest: an actor that starts in the middle would blur what one does."""
    value = config.model_dump()
    pools = [value["decode_pool"], *(value[f"{role}_model"]["pool"] for role in ("query", "response"))]
    pools += [judge["pool"] for judge in value["judge_model"]]
    for pool in pools:
        pool["max_size"] = pool["min_size"]
    return GenerateConfig.model_validate(value)


def _machine() -> str:
    """Of the cluster that ran it: its size and its accelerators."""
    import ray

    has = ray.cluster_resources()
    kinds = [name.removeprefix("accelerator_type:") for name in sorted(has) if name.startswith("accelerator_type:")]
    gpus = f", {has['GPU']:g} GPUs{' (' + ', '.join(kinds) + ')' if kinds else ''}" if has.get("GPU") else ""
    return f"{has.get('CPU', 0):g} CPUs ({_cpu() or platform.machine()}){gpus}"


def _cpu() -> str:
    """The processor's name, where Linux tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
