import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest

from tests.generate.scripted_engine import ScriptedEngine, good_answer, kind_of
from tests.works import NUM_FRAMES, make_decoded
from videopasta.clip_stream import frames_of, row, value_of
from videopasta.config import EnginePoolConfig, GenerateConfig, OpenAIModel, VllmModel
from videopasta.config.generate import PlansConfig, PreferredPlans, QueriesConfig
from videopasta.config.video import NativePlan, UniformPlan
from videopasta.engine import Request, RequestError
from videopasta.generate.pipeline import plan_stages, play_roles, seen_videos, views
from videopasta.generate.work import Work
from videopasta.prompts import load_prompts

PROMPTS = load_prompts()
ALL_ROLES = ("query", "response", "judge.0")
SMALL, LARGE = VllmModel(model="small"), VllmModel(model="large")


def make_config(
    *,
    query: VllmModel = SMALL,
    response: VllmModel = SMALL,
    judges: Sequence[VllmModel | OpenAIModel] = (SMALL,),
) -> GenerateConfig:
    return GenerateConfig(
        query_model=query,
        response_model=response,
        judge_model=tuple(judges),
        queries=QueriesConfig(per_mode=2),
    )


def run_roles(
    engine: ScriptedEngine,
    *,
    roles: Sequence[str] = ALL_ROLES,
    work: Work | None = None,
    last_role: str = "judge.0",
) -> Work:
    config = make_config()
    decoded, frames = make_decoded(config=config)
    return asyncio.run(play_roles(work or decoded, frames, roles, engine, PROMPTS, config, last_role=last_role))


def timeless(work: Work) -> Work:
    """Without what a clock says, and calls in a fixed order."""
    calls = tuple(sorted(work.calls, key=lambda calls: (calls.role, calls.plan_key or "")))
    return work.having(seconds=dict.fromkeys(work.seconds, 0.0), started_at={}, calls=calls)


def asked(engine: ScriptedEngine) -> list[tuple[int, str, str | None, str]]:
    """What the requests said, whatever their order."""
    return sorted(
        (
            request.seed,
            request.prompt,
            request.video.cache_key if request.video else None,
            json.dumps(request.json_schema),
        )
        for request in engine.requests
    )


@pytest.mark.parametrize(
    ("config", "roles"),
    [
        (make_config(), [("query", "response", "judge.0")]),
        (make_config(query=LARGE), [("query",), ("response", "judge.0")]),
        (make_config(response=LARGE), [("query",), ("response",), ("judge.0",)]),
        (make_config(judges=[LARGE]), [("query", "response"), ("judge.0",)]),
        (
            make_config(judges=[SMALL, LARGE, LARGE, SMALL]),
            [("query", "response", "judge.0"), ("judge.1", "judge.2"), ("judge.3",)],
        ),
        (
            make_config(judges=[VllmModel(model="small", pool=EnginePoolConfig(max_size=2))]),
            [("query", "response"), ("judge.0",)],
        ),
        (make_config(judges=[OpenAIModel(model="small")]), [("query", "response"), ("judge.0",)]),
    ],
)
def test_equal_neighbours_share_a_pool(config: GenerateConfig, roles: list[tuple[str, ...]]):
    """And no others: the clip goes through the roles in order, and another setting is another engine."""
    stages = plan_stages(config)
    assert [stage.roles for stage in stages] == roles
    assert [stage.sees_video for stage in stages] == [
        not all(role.startswith("judge") for role in names) for names in roles
    ]


def test_views_are_one_per_mode_asked_for():
    """Modes that make no pairs are not decoded."""
    plans = PlansConfig(query=UniformPlan(num_frames=4), preferred=PreferredPlans(temporal=NativePlan(max_frames=6)))
    config = GenerateConfig(plans=plans, failure_modes=("temporal",))
    assert views(config) == {
        "query": UniformPlan(num_frames=4),
        "preferred.temporal": NativePlan(max_frames=6),
        "adversarial": plans.adversarial,
    }


def test_seen_videos_are_those_whose_frames_are_here():
    """Keys name content and plan, so equal keys are equal pixels for a prefix cache."""
    work, frames = make_decoded()
    adversarial = work.plans["adversarial"]
    videos = seen_videos(work, {adversarial.key: frames[adversarial.key]})
    assert list(videos) == ["adversarial"]
    video = videos["adversarial"].video
    assert video.cache_key == f"{'a' * 64}-{adversarial.key}"
    assert video.sampled_fps == adversarial.sampled_fps
    assert seen_videos(work, {}) == {}


def test_views_with_equal_plans_are_one_video():
    """Their requests share one encoded prefix."""
    work, frames = make_decoded()
    work = work.having(plans=work.plans | {"query": work.plans["preferred.spatial"]})
    videos = seen_videos(work, frames)
    assert videos["query"].video.cache_key == videos["preferred.spatial"].video.cache_key
    assert len({video.plan_key for video in videos.values()}) == 4


def test_clip_goes_from_frames_to_verdicts():
    """All roles on one engine: every candidate is a pair when every answer is good."""
    engine = ScriptedEngine()
    work = run_roles(engine)
    assert work.failure is None
    assert len(work.candidates) == 3 * 2 * 3
    assert all(one.drop_reason is None and one.verdict is not None for one in work.candidates)
    assert work.models == dict.fromkeys(ALL_ROLES, "scripted@r1")
    assert set(work.seconds) == {"decode", *ALL_ROLES}
    assert len(engine.requests) == 3 + 6 * (1 + 3 + 3) + 18
    assert sum(calls.requests for calls in work.calls) == len(engine.requests)


def test_calls_say_which_role_saw_which_plan():
    """The judge no video; the response model each mode's view and the sparse one; the writer its own."""
    work = run_roles(ScriptedEngine())
    plans: dict[str, set[str | None]] = {}
    for calls in work.calls:
        plans.setdefault(calls.role, set()).add(calls.plan_key)
    keys = {view: plan.key for view, plan in work.plans.items()}
    assert plans["query"] == {keys["query"]}
    assert plans["response"] == {None, *(key for view, key in keys.items() if view != "query")}
    assert plans["judge.0"] == {None}


def test_order_of_the_answers_does_not_matter():
    """Whatever the engine finishes first, the clip comes out the same."""
    results = [run_roles(ScriptedEngine(order=order)) for order in range(4)]
    assert {timeless(result).model_dump_json() for result in results} == {timeless(results[0]).model_dump_json()}


def test_same_clip_asked_twice_gives_the_same_requests():
    """A retried row asks what the first one asked: prompts, videos, schemas and seeds."""
    first, again = ScriptedEngine(), ScriptedEngine(order=3)
    run_roles(first)
    run_roles(again)
    assert asked(first) == asked(again)
    seeds = [request.seed for request in first.requests]
    assert len(set(seeds)) == len(seeds)


def test_other_clips_and_other_runs_are_asked_with_other_seeds():
    """Equal queries about two clips are drawn apart, and so is one clip by another run's seed."""
    config = make_config()
    seeds: list[set[int]] = []
    for content, seed in (("a", 0), ("b", 0), ("a", 1)):
        engine = ScriptedEngine()
        work, frames = make_decoded(config=config, content=content)
        seeded = config.model_copy(update={"seed": seed})
        asyncio.run(play_roles(work, frames, ["query"], engine, PROMPTS, seeded, last_role="judge.0"))
        seeds.append({request.seed for request in engine.requests})
    assert len(set.union(*seeds)) == 9


def test_sharing_an_engine_changes_no_request():
    """One pool for all roles or one for each: the same questions and the same candidates."""
    shared = ScriptedEngine()
    together = run_roles(shared)
    apart: Work | None = None
    engines = [ScriptedEngine() for _ in ALL_ROLES]
    for role, engine in zip(ALL_ROLES, engines, strict=True):
        apart = run_roles(engine, roles=[role], work=apart)
    assert apart is not None
    assert apart.candidates == together.candidates
    assert sorted(line for engine in engines for line in asked(engine)) == asked(shared)


@pytest.mark.parametrize(
    ("kind", "stage"),
    [("queries", "query"), ("rewrite", "response"), ("text", "response"), ("vote", "judge")],
)
def test_request_at_fault_fails_the_clip_with_its_stage(kind: str, stage: str):
    """Not the run; and no later role is played. What was asked is still accounted for."""

    def answer(request: Request) -> str | RequestError:
        return RequestError("prompt_too_long", "9 tokens") if kind_of(request) == kind else good_answer(request)

    engine = ScriptedEngine(answer=answer)
    work = run_roles(engine)
    assert work.failure is not None
    assert (work.failure.stage, work.failure.reason, work.failure.detail) == (
        stage,
        "prompt_too_long",
        "9 tokens",
    )
    assert list(work.models)[-1].startswith(stage)
    if stage != "judge":
        assert engine.asked("vote") == []


def test_mistake_in_the_program_is_not_a_quarantined_clip():
    """Only a request's own fault is data; anything else must be seen."""

    def answer(request: Request) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_roles(ScriptedEngine(answer=answer))


def test_failed_clip_is_not_asked_about():
    """It flows through the later stages untouched."""
    failed = run_roles(ScriptedEngine(answer=lambda request: "hm"))
    assert failed.failure is not None
    engine = ScriptedEngine()
    assert run_roles(engine, roles=["response", "judge.0"], work=failed) == failed
    assert engine.requests == []


def test_row_carries_work_and_frames():
    """Between actors nothing is lost: text as JSON, frames byte for byte."""
    work, frames = make_decoded()
    for index, array in enumerate(frames.values()):
        array[:] = np.random.default_rng(index).integers(0, 256, array.shape, np.uint8)
    batch = row(work.model_dump_json(), frames)
    carried = Work.model_validate_json(value_of(batch))
    carried_frames = frames_of(batch, carried.plans.values())
    assert carried == work
    assert carried_frames.keys() == frames.keys()
    for key, array in frames.items():
        np.testing.assert_array_equal(carried_frames[key], array)
        assert carried_frames[key].dtype == np.uint8


def test_row_without_frames_carries_none():
    """After the response stage a clip is text alone."""
    finished = run_roles(ScriptedEngine())
    batch = row(finished.model_dump_json())
    carried, frames = Work.model_validate_json(value_of(batch)), frames_of(batch, finished.plans.values())
    assert carried == finished
    assert frames == {}


def test_fixture_tells_the_views_apart():
    """Each view of the test clip has its own number of frames."""
    work, _ = make_decoded()
    assert {view: plan.num_frames for view, plan in work.plans.items()} == NUM_FRAMES
