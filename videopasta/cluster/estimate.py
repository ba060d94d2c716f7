"""A profile without a run: tokens counted from the configuration, seconds from a GPU's data sheet. Pure.

Frames, tokens of videos and requests are exact for the video described; the lengths of texts, and with them the
seconds, are guesses whose assumptions are the constants below, never held against a GPU: good for "one node or
twenty?", not for a budget. `videopasta calibrate` measures instead.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from videopasta.cluster.instances import InstanceType
from videopasta.cluster.profile import DECODE, Profile, StageProfile, plain_fingerprint, stage_name
from videopasta.config import GenerateConfig, VllmModel
from videopasta.errors import UserError
from videopasta.generate.pipeline import Stage, plan_stages, views
from videopasta.prompts import PromptSet
from videopasta.video.plan import FramePlan, FrameTable, make_plan

TOKENS_PER_WORD = 1.4
"""Of English in Qwen's vocabulary, with room for JSON."""
PREFILL_EFFICIENCY = 0.4
"""Of the GPU's peak, while prompts are read."""
DECODE_EFFICIENCY = 0.5
"""Of the GPU's memory bandwidth, while answers are written."""
ACCEPTED_SHARE = 0.5
"""Of the candidates become pairs."""
GUARDED_SHARE = 0.9
"""Of the candidates reach the judge."""
DECODE_S = 0.6
"""One decoder, a clip of 30 s at 640x360 (benchmarks/README.md)."""
GPU_READY_S, CPU_READY_S = 240.0, 10.0
"""A model is loaded, a decoder started."""
VISION_PARAMETERS = 0.7e9
"""Of Qwen2.5-VL's tower, which sees four patches a token."""
OUTPUT_BYTES_PER_CANDIDATE = 600
"""In candidates/ and pairs/, compressed."""
_SIZE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Footage:
    """What a video is like, of those to come."""

    seconds: float = 30.0
    width: int = 640
    height: int = 360
    fps: float = 30.0
    bytes_per_s: float = 100_000.0


@dataclass(frozen=True)
class _Tokens:
    requests: float = 0.0
    prompt: float = 0.0
    cached: float = 0.0
    completion: float = 0.0
    seen: float = 0.0
    """Of videos, encoded."""

    def __add__(self, other: "_Tokens") -> "_Tokens":
        return _Tokens(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def estimate(
    config: GenerateConfig, prompts: PromptSet, footage: Footage, hosts: Mapping[str, InstanceType]
) -> Profile:
    """What a clip of `footage` costs each pool.

    Args:
        config: of the run.
        prompts: of the run.
        footage: what the videos are like.
        hosts: by pool, the machine that its actors run on.

    Raises:
        UserError: a model whose size its name does not tell, or a pool without a GPU.
    """
    plans = {view: _frame_plan(config, view, footage) for view in views(config)}
    distinct = {plan.key: plan for plan in plans.values()}.values()
    frames = sum(plan.num_frames for plan in distinct)
    num_modes, per_mode = len(config.failure_modes), config.queries.per_mode
    candidates = num_modes * per_mode * config.responses.num_adversaries
    scale = footage.seconds / 30 * footage.width * footage.height / (640 * 360)
    stages = [StageProfile(name=DECODE, actor_s=DECODE_S * max(scale, 0.1), variation=0.3, ready_s=CPU_READY_S)]
    for stage in plan_stages(config):
        tokens = sum((_tokens(role, config, prompts, plans) for role in stage.roles), _Tokens())
        stages.append(
            StageProfile(
                name=stage_name(stage),
                actor_s=_seconds(stage, tokens, hosts[stage_name(stage)]),
                variation=0.3,
                ready_s=GPU_READY_S,
                requests=tokens.requests,
                prompt_tokens=tokens.prompt,
                cached_tokens=tokens.cached,
                completion_tokens=tokens.completion,
            )
        )
    return Profile(
        source="estimated",
        machine=", ".join(sorted({host.name for host in hosts.values()})),
        made_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}",
        fingerprint=plain_fingerprint(config),
        clips=0,
        frames=frames,
        frame_bytes=sum(plan.num_frames * plan.height * plan.width * 3 for plan in distinct),
        source_bytes=footage.seconds * footage.bytes_per_s,
        candidates=candidates,
        pairs=candidates * GUARDED_SHARE * ACCEPTED_SHARE,
        quarantined_share=0.0,
        output_bytes=candidates * OUTPUT_BYTES_PER_CANDIDATE,
        stages=tuple(stages),
    )


def _frame_plan(config: GenerateConfig, view: str, footage: Footage) -> FramePlan:
    num = max(2, round(footage.seconds * footage.fps))
    table = FrameTable(np.arange(num) / footage.fps, num / footage.fps)
    return make_plan(
        views(config)[view],
        table,
        start_s=0.0,
        end_s=table.duration_s,
        height=footage.height,
        width=footage.width,
        pixels=config.decode.pixels,
        backend=config.decode.backend,
    )


def _tokens(role: str, config: GenerateConfig, prompts: PromptSet, plans: Mapping[str, FramePlan]) -> _Tokens:
    """Of one clip in one role."""
    num_modes, per_mode = len(config.failure_modes), config.queries.per_mode
    answers, mode = config.responses, config.failure_modes[0]
    num_queries, num_candidates = num_modes * per_mode, num_modes * per_mode * answers.num_adversaries
    query, answer = "word " * 12, "word " * ((answers.min_words + answers.max_words) // 2)
    if role == "query":
        asks = prompts.query(mode, count=per_mode)
        return _asked(num_modes, asks, per_mode * _text(query) * 1.3, [plans["query"]])
    if role == "response":
        dense = [plans[f"preferred.{one}"] for one in config.failure_modes]
        good = prompts.preferred(query, min_words=answers.min_words, max_words=answers.max_words)
        adversary = next(iter(prompts.modes[mode].adversaries))
        rewrite = prompts.rewrite(mode, adversary, query=query, preferred=answer)
        bad = prompts.adversarial(query, words=len(answer.split()))
        tokens = _asked(num_queries, good, _text(answer), dense)
        tokens += _asked(num_candidates, rewrite, _text(query) * 1.3, [])
        tokens += _asked(num_candidates, bad, _text(answer), [plans["adversarial"]])
        if config.judge.describe_clip:
            tokens += _asked(1, prompts.describe(), 120, dense[:1])
        return tokens
    asks = prompts.judge(mode, query=query, preferred=answer, adversarial=answer, description=None)
    votes = num_candidates * GUARDED_SHARE * config.judge.num_samples
    return _asked(votes, asks, 70, [])


def _asked(requests: float, prompt: str, completion: float, videos: list[FramePlan]) -> _Tokens:
    """`requests` that share the start of their prompt: each distinct video is read once, and cached for the others."""
    text = _text(prompt)
    distinct = {plan.key: (plan.num_frames // 2) * (plan.height // 28) * (plan.width // 28) for plan in videos}
    mean = sum(distinct.values()) / len(distinct) if distinct else 0.0
    return _Tokens(
        requests=requests,
        prompt=requests * (text + mean),
        cached=max(0.0, requests - len(distinct)) * mean,
        completion=requests * completion,
        seen=sum(distinct.values()),
    )


def _text(words: str) -> float:
    return len(words.split()) * TOKENS_PER_WORD


def _seconds(stage: Stage, tokens: _Tokens, host: InstanceType) -> float:
    """Compute-bound while prompts are read, bound by memory while answers are written."""
    model = stage.model
    if not isinstance(model, VllmModel):
        # As fast as its rate allows.
        return max(tokens.requests * 60 / model.requests_per_minute, 1e-3)
    gpus = model.pool.num_gpus
    if not gpus or not host.gpus:
        raise UserError(
            f"{stage_name(stage)}: no estimate for {model.model} without a GPU; run `videopasta calibrate` there"
        )
    parameters = parameters_of(model.model)
    flops = 2 * parameters * (tokens.prompt - tokens.cached + tokens.completion)
    flops += 2 * VISION_PARAMETERS * 4 * tokens.seen
    together = min(model.max_num_seqs, max(1.0, model.pool.clips_in_flight * tokens.requests / 2))
    weights_read = 2 * parameters * tokens.completion / together
    compute_s = flops / (host.gpu_bf16_tflops * 1e12 * gpus * PREFILL_EFFICIENCY)
    memory_s = weights_read / (host.gpu_bandwidth_gb_s * 1e9 * gpus * DECODE_EFFICIENCY)
    return compute_s + memory_s


def parameters_of(model: str) -> float:
    """Of a model, as its name tells.

    Raises:
        UserError: it does not.
    """
    found = _SIZE.findall(model.rpartition("/")[2])
    if not found:
        raise UserError(
            f"model {model!r}: its name does not tell its size (as 7B does), so its speed cannot be estimated; run "
            "`videopasta calibrate` and give its file by --calibration"
        )
    return float(found[-1]) * 1e9
