"""Profiles and plans, for people and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from videopasta.cluster.plan import Plan, shares_of_time
from videopasta.cluster.profile import Profile


def profile_table(profile: Profile) -> Table:
    """What a clip costs each pool."""
    table = Table("pool", title=f"a clip, {profile.source}: {profile.machine}", title_justify="left")
    for name in ("actor seconds", "ready after s", "requests", "prompt tokens", "cached", "answer tokens"):
        table.add_column(name, justify="right")
    for stage in profile.stages:
        cached = f"{stage.cached_tokens / stage.prompt_tokens:.0%}" if stage.prompt_tokens else ""
        counts = (stage.requests, stage.prompt_tokens, stage.completion_tokens)
        requests, prompt, completion = (f"{count:,.0f}" if count else "" for count in counts)
        table.add_row(stage.name, f"{stage.actor_s:.2f}", f"{stage.ready_s:.0f}", requests, prompt, cached, completion)
    return table


def plan_tables(plan: Plan) -> list[RenderableType]:
    """A plan: pools, totals, and what to do."""
    profile, clips = plan.profile, plan.clips
    shares = shares_of_time(plan.pools)
    pools = Table("pool", "nodes", title=f"pools ({profile.source}: {profile.machine})", title_justify="left")
    for name in ("actors", "GPUs each", "s a clip", "clips/h", "at work", "best size here"):
        pools.add_column(name, justify="right")
    for pool in plan.pools:
        pools.add_row(
            pool.name, pool.group, f"{pool.min_actors}-{pool.max_actors}", f"{pool.num_gpus:g}", f"{pool.actor_s:.2f}",
            f"{pool.clips_per_h:,.0f}", f"{shares[pool.name]:.0%}", str(pool.recommended),
        )  # fmt: skip
    totals = Table(title=f"{plan.videos:,} videos", show_header=False, title_justify="left")
    totals.add_column()
    totals.add_column(justify="right")
    totals.add_row("time", duration(plan.simulated.wall_s))
    totals.add_row("held up by", plan.bottleneck.name)
    for name, hours in plan.node_h.items():
        totals.add_row(f"hours of {name}", f"{hours:,.1f}")
    totals.add_row("GPU-hours", f"{plan.gpu_h:,.1f}")
    no_price = f"no price of {', '.join(plan.unpriced)}"
    totals.add_row("cost", no_price if plan.cost_usd is None else f"{plan.cost_usd:,.0f} USD")
    if plan.simulated.lost_nodes:
        redone = f"{plan.simulated.lost_nodes:,} ({plan.simulated.clips_redone:,.0f} clips done again)"
        totals.add_row("spot nodes lost", redone)
    totals.add_section()
    totals.add_row("frames", f"{clips * profile.frames:,.0f}")
    totals.add_row("frames through the object store", size(clips * profile.frame_bytes))
    totals.add_row("read", size(clips * profile.source_bytes))
    totals.add_row("written", f"{size(clips * profile.output_bytes)} in {plan.num_shards:,} shards")
    totals.add_row("candidates, pairs", f"{clips * profile.candidates:,.0f}, {clips * profile.pairs:,.0f}")
    totals.add_section()
    for stage in profile.stages:
        if stage.requests:
            prompt, completion = clips * stage.prompt_tokens, clips * stage.completion_tokens
            totals.add_row(f"tokens of {stage.name}", f"{count(prompt)} read, {count(completion)} written")
    return [pools, totals]


def plan_dict(plan: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    return {
        "videos": plan.videos,
        "source": plan.profile.source,
        "wall_s": plan.simulated.wall_s,
        "bottleneck": plan.bottleneck.name,
        "node_h": dict(plan.node_h),
        "gpu_h": plan.gpu_h,
        "unpriced": plan.unpriced,
        "cost_usd": plan.cost_usd,
        "num_shards": plan.num_shards,
        "pools": [asdict(pool) for pool in plan.pools],
        "simulated": asdict(plan.simulated),
        "profile": plan.profile.model_dump(mode="json"),
    }


def duration(seconds: float) -> str:
    """For people: the two largest units."""
    for unit, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            return f"{int(seconds // unit):,} {name} {int(seconds % unit // small)} {small_name}"
    return f"{seconds:.0f} s"


def size(num_bytes: float) -> str:
    """For people."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} PB"


def count(number: float) -> str:
    """For people."""
    for unit in ("", " thousand", " million", " billion"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:,.0f} trillion" if number >= 10 else f"{number:.3g} trillion"
