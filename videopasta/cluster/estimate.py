"""A profile without a run: tokens counted from the configuration, seconds from a GPU's data sheet. Pure.

For the video described, frames and requests are exact, and so are tokens of videos in Qwen2.5-VL and InternVL; other
models are taken for Qwen2.5-VL. The lengths of texts, and with them the seconds, are guesses whose assumptions are the
constants below, never held against a GPU: good for "one node or twenty?", not for a budget. `videopasta calibrate`
measures instead.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from videopasta.cluster.instances import InstanceType
from videopasta.cluster.profile import DECODE, Profile, StageProfile, plain_fingerprint, stage_name
from videopasta.config import GenerateConfig, VllmModel
from videopasta.config.generate import SamplingConfig
from videopasta.errors import UserError
from videopasta.generate.pipeline import Stage, plan_stages, views
from videopasta.generate.responses import description_sampling
from videopasta.generate.work import video_tokens
from videopasta.prompts import PromptSet
from videopasta.video.plan import FramePlan, FrameTable, make_plan

TOKENS_PER_WORD, CHARS_PER_WORD = 1.4, 6
"""Of English in Qwen's vocabulary, with room for JSON, and with the space."""
QUERY_WORDS, DESCRIPTION_WORDS = 12, 85
"""Of a query, and of a clip's description: three sentences."""
VOTE_TOKENS = 35
"""Of a judge's answer beside its reason, which is as long as it may be."""
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
VISION_PARAMETERS, PATCHES_PER_TOKEN = 0.7e9, 4
"""Of Qwen2.5-VL's tower."""
INTERNVL_TOKENS_PER_FRAME, INTERNVL_PARAMETERS, INTERNVL_SMALL_PARAMETERS = 256, 5.5e9, 0.3e9
"""A frame is one tile of 448x448. Models of 26B and more have the large tower; both see four patches a token."""
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
class _Ask:
    """Requests of one kind."""

    requests: float
    """Of a clip."""
    prompt: str
    """Of one of them, without the video."""
    answer_tokens: float
    """Of one of them, if it is not cut."""
    sampling: SamplingConfig
    plan: FramePlan | None = None
    """What they see of the clip."""
    alike: int = 1
    """So many have the same prompt."""


@dataclass(frozen=True)
class _Tokens:
    """Of one clip in one pool."""

    requests: float
    prompt: float
    cached: float
    completion: float
    seen: float
    """Of videos, encoded."""


def estimate(
    config: GenerateConfig, prompts: PromptSet, footage: Footage, hosts: Mapping[str, InstanceType], *, made_at: str
) -> Profile:
    """What a clip of `footage` costs each pool.

    Args:
        config: of the run.
        prompts: of the run.
        footage: what the videos are like.
        hosts: by pool, the machine that its actors run on.
        made_at: UTC, ISO 8601.

    Raises:
        UserError: a model whose size its name does not tell, or a pool without a GPU of a known type.
    """
    plans = {view: _frame_plan(config, view, footage) for view in views(config)}
    distinct = {plan.key: plan for plan in plans.values()}.values()
    frames = sum(plan.num_frames for plan in distinct)
    candidates = len(config.failure_modes) * config.queries.per_mode * config.responses.num_adversaries
    scale = footage.seconds / 30 * footage.width * footage.height / (640 * 360)
    stages = [StageProfile(name=DECODE, actor_s=DECODE_S * max(scale, 0.1), variation=0.3, ready_s=CPU_READY_S)]
    for stage in plan_stages(config):
        asks = [ask for role in stage.roles for ask in _asks(role, config, prompts, plans)]
        tokens = _tokens(asks, stage.model.model)
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
        made_at=made_at,
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


def _asks(role: str, config: GenerateConfig, prompts: PromptSet, plans: Mapping[str, FramePlan]) -> Iterator[_Ask]:
    """What one clip is asked in one role."""
    per_mode, answers, judge = config.queries.per_mode, config.responses, config.judge
    query, answer = "word " * QUERY_WORDS, "word " * ((answers.min_words + answers.max_words) // 2)
    description = "word " * DESCRIPTION_WORDS if judge.describe_clip else ""
    if role == "response" and description:
        seen = plans[f"preferred.{config.failure_modes[0]}"]
        yield _Ask(1, prompts.describe(), _text(description), description_sampling(config), seen)
    for mode in config.failure_modes:
        candidates = per_mode * answers.num_adversaries
        if role == "query":
            asks = prompts.query(mode, count=per_mode)
            yield _Ask(1, asks, per_mode * _text(query) * 1.3, config.queries.sampling, plans["query"])
        elif role == "response":
            asks = prompts.preferred(query, min_words=answers.min_words, max_words=answers.max_words)
            yield _Ask(per_mode, asks, _text(answer), answers.preferred, plans[f"preferred.{mode}"])
            adversary = next(iter(prompts.modes[mode].adversaries))
            asks = prompts.rewrite(mode, adversary, query=query, preferred=answer)
            yield _Ask(candidates, asks, _text(query) * 1.3, answers.rewrite)
            asks = prompts.adversarial(query, words=len(answer.split()))
            yield _Ask(candidates, asks, _text(answer), answers.adversarial, plans["adversarial"])
        else:
            asks = prompts.judge(mode, query=query, preferred=answer, adversarial=answer, description=description)
            vote = VOTE_TOKENS + judge.max_reason_chars / CHARS_PER_WORD * TOKENS_PER_WORD
            votes = candidates * GUARDED_SHARE * judge.num_samples
            yield _Ask(votes, asks, vote, judge.sampling, alike=judge.num_samples)


def _tokens(asks: Sequence[_Ask], model: str) -> _Tokens:
    """Of one clip in a pool that hosts `model`: each video and each prompt is read once, and cached for its others."""
    shown = [(ask.requests, ask.plan.key, _video_tokens(ask.plan, model)) for ask in asks if ask.plan is not None]
    of_videos = sum(requests * tokens for requests, _, tokens in shown)
    of_texts = [(ask.requests * _text(ask.prompt), ask.alike) for ask in asks]
    seen = sum({key: tokens for _, key, tokens in shown}.values())
    return _Tokens(
        requests=sum(ask.requests for ask in asks),
        prompt=sum(tokens for tokens, _ in of_texts) + of_videos,
        cached=sum(tokens * (1 - 1 / alike) for tokens, alike in of_texts) + of_videos - seen,
        completion=sum(ask.requests * min(ask.answer_tokens, ask.sampling.max_tokens) for ask in asks),
        seen=seen,
    )


def _video_tokens(plan: FramePlan, model: str) -> int:
    return INTERNVL_TOKENS_PER_FRAME * plan.num_frames if _is_internvl(model) else video_tokens(plan)


def _is_internvl(model: str) -> bool:
    return "internvl" in model.lower()


def _tower_of(model: str) -> float:
    """Parameters of what encodes the frames."""
    if not _is_internvl(model):
        return VISION_PARAMETERS
    return INTERNVL_PARAMETERS if parameters_of(model) >= 26e9 else INTERNVL_SMALL_PARAMETERS


def _text(words: str) -> float:
    return len(words.split()) * TOKENS_PER_WORD


def _seconds(stage: Stage, tokens: _Tokens, host: InstanceType) -> float:
    """Compute-bound while prompts are read, bound by memory while answers are written."""
    model = stage.model
    if not isinstance(model, VllmModel):
        # As fast as its rate allows.
        return max(tokens.requests * 60 / model.requests_per_minute, 1e-3)
    gpus = model.pool.num_gpus
    if not gpus or not host.gpu_bf16_tflops:
        raise UserError(
            f"{stage_name(stage)}: no estimate for {model.model} on {host.name}, without a GPU whose peaks are known; "
            "run `videopasta calibrate` there"
        )
    parameters = parameters_of(model.model)
    flops = 2 * parameters * (tokens.prompt - tokens.cached + tokens.completion)
    flops += 2 * _tower_of(model.model) * PATCHES_PER_TOKEN * tokens.seen
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
