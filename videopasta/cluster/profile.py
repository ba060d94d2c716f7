"""What one clip costs each pool, measured by `videopasta calibrate` or estimated: what plans are made of. Pure.

A profile belongs to one configuration on one kind of machine. Its unit is the *actor-second*: how long one actor that
is never without work takes per clip, whatever it does at the same time.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from videopasta.config import GenerateConfig, differences, fingerprint
from videopasta.config.video import Frozen
from videopasta.errors import UserError
from videopasta.generate.pipeline import Stage, plan_stages
from videopasta.generate.work import Work

DECODE = "decode"


class StageProfile(Frozen):
    """One pool's part in a clip."""

    name: str
    """`decode`, or its roles with `+` between."""
    actor_s: float = Field(gt=0)
    """Seconds of one busy actor for a clip."""
    variation: float = Field(default=0.0, ge=0)
    """Standard deviation of a clip's seconds over their mean."""
    ready_s: float = Field(default=0.0, ge=0)
    """From an actor's start until its first clip begins: its model is loaded in between."""
    requests: float = 0
    """Of a clip, as the three below."""
    prompt_tokens: float = 0
    cached_tokens: float = 0
    """Of the prompt tokens, those from the prefix cache."""
    completion_tokens: float = 0


class Profile(Frozen):
    """What one clip costs, by pool, and what it leaves."""

    source: Literal["measured", "estimated"]
    machine: str
    """Where it was measured, or of what it is an estimate."""
    made_at: str
    """UTC, ISO 8601."""
    fingerprint: dict[str, Any]
    """Of the configuration: a plan for another one is refused."""
    clips: int
    """Measured."""
    frames: float
    """Of a clip, decoded: distinct frame plans are counted once each."""
    frame_bytes: float
    """Of a clip, decoded, in the object store until the responses are there."""
    source_bytes: float
    """Of a clip's file."""
    candidates: float
    pairs: float
    quarantined_share: float = Field(ge=0, le=1)
    """Of the clips."""
    output_bytes: float
    """Of a clip, in candidates/ and pairs/."""
    stages: tuple[StageProfile, ...]
    """In the order of the road."""

    def check(self, config: GenerateConfig) -> None:
        """Whether the profile is of `config`.

        Raises:
            UserError: it is of another one; says in what.
        """
        changed = list(differences(self.fingerprint, plain_fingerprint(config)))
        if changed:
            raise UserError(
                "the calibration is of another configuration, and says nothing about this one:\n  "
                + "\n  ".join(changed)
                + "\nRun `videopasta calibrate` with this configuration."
            )


def stage_name(stage: Stage) -> str:
    """A pool's name in profiles and plans."""
    return "+".join(stage.roles)


def measure(
    works: Sequence[Work],
    config: GenerateConfig,
    *,
    started_at: float,
    machine: str,
    made_at: str,
    output_bytes: int,
) -> Profile:
    """The profile of a run that went through with pools of a fixed size.

    A pool's actor-seconds are the time during which it had a clip, times its actors, per clip. For the pool that was
    never without work, the bottleneck, that is exact; the others may do better than it says.

    Args:
        works: all clips of the run.
        config: of the run, each pool's `max_size` its `min_size`.
        started_at: Unix time at which the actors were started.
        machine: for people.
        made_at: UTC, ISO 8601.
        output_bytes: of candidates/ and pairs/.

    Raises:
        UserError: too few clips came through.
    """
    through = [work for work in works if work.failure is None]
    if len(through) < 2:
        reasons = sorted({work.failure.reason for work in works if work.failure})
        raise UserError(
            f"{len(through)} of {len(works)} clips came through ({', '.join(reasons)}); a calibration needs 2 or more"
        )
    count = len(through)
    stages = [_stage(DECODE, ("decode",), through, config.decode_pool.min_size, started_at)]
    stages += [
        _stage(stage_name(stage), stage.roles, through, stage.model.pool.min_size, started_at)
        for stage in plan_stages(config)
    ]
    candidates = [candidate for work in through for candidate in work.candidates]
    plans = [plan for work in through for plan in {plan.key: plan for plan in work.plans.values()}.values()]
    return Profile(
        source="measured",
        machine=machine,
        made_at=made_at,
        fingerprint=plain_fingerprint(config),
        clips=count,
        frames=sum(plan.num_frames for plan in plans) / count,
        frame_bytes=sum(plan.num_frames * plan.height * plan.width * 3 for plan in plans) / count,
        source_bytes=sum(work.entry.size_bytes or 0 for work in through) / count,
        candidates=len(candidates) / count,
        pairs=sum(candidate.drop_reason is None for candidate in candidates) / count,
        quarantined_share=1 - count / len(works),
        output_bytes=output_bytes / count,
        stages=tuple(stages),
    )


def _stage(name: str, roles: Sequence[str], works: Sequence[Work], actors: int, started_at: float) -> StageProfile:
    spans = sorted((work.started_at[roles[0]], work.started_at[roles[-1]] + work.seconds[roles[-1]]) for work in works)
    seconds = [end - start for start, end in spans]
    mean = statistics.fmean(seconds)
    calls = [call for work in works for call in work.calls if call.role in roles]
    return StageProfile(
        name=name,
        actor_s=max(_union_s(spans) * actors / len(works), 1e-6),
        variation=statistics.pstdev(seconds) / mean if mean else 0.0,
        ready_s=max(0.0, spans[0][0] - started_at),
        requests=sum(call.requests for call in calls) / len(works),
        prompt_tokens=sum(call.prompt_tokens for call in calls) / len(works),
        cached_tokens=sum(call.cached_tokens for call in calls) / len(works),
        completion_tokens=sum(call.completion_tokens for call in calls) / len(works),
    )


def _union_s(spans: Sequence[tuple[float, float]]) -> float:
    """How long at least one of `spans`, in order of their starts, lasted."""
    total, until = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def write_profile(profile: Profile, path: Path) -> None:
    """As YAML, for people too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False))


def read_profile(path: Path) -> Profile:
    """What `write_profile` wrote.

    Raises:
        UserError: there is no such file, or it is something else.
    """
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `videopasta calibrate` writes one") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not what `videopasta calibrate` writes: {error}") from error


def plain_fingerprint(config: GenerateConfig) -> dict[str, Any]:
    """What the profile depends on, as YAML reads it back: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(fingerprint(config)))
    return plain
