import json
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from videopasta.config import (
    EnginePoolConfig,
    FpsPlan,
    GenerateConfig,
    NativePlan,
    OpenAIModel,
    PlanConfig,
    UniformPlan,
    VllmModel,
    WindowPlan,
    fingerprint,
)
from videopasta.config.generate import PlansConfig, PreferredPlans

OPERATIONAL = {
    "deadline_s",
    "attempts",
    "memory_gib",
    "max_bytes",
    "prompts",
    "decode_pool",
    "object_store_gib",
    "breaker",
    "output",
    "pool",
    "tensor_parallel_size",
    "gpu_memory_utilization",
    "kv_cache_gib",
    "max_num_seqs",
    "enforce_eager",
    "min_frames",
    "max_duration_s",
    "max_frame_pixels",
    "api_key_env",
    "api_key_file",
    "sources",
    "requests_per_minute",
    "max_concurrency",
    "max_retries",
    "timeout_s",
    "recycle_after",
}


def make_config(*, plan: PlanConfig | None = None) -> GenerateConfig:
    """A configuration that holds each member of each union."""
    return GenerateConfig(
        query_model=OpenAIModel(model="query"),
        response_model=VllmModel(model="response"),
        judge_model=(VllmModel(model="first"), OpenAIModel(model="second")),
        plans=PlansConfig(
            query=plan or UniformPlan(),
            preferred=PreferredPlans(spatial=FpsPlan(), temporal=NativePlan(), cross_frame=WindowPlan()),
        ),
    )


def another(value: object) -> object:
    """A value of the same type that differs."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "-changed"
        case None:
            return "changed"
        case dict():
            return {**value, "changed": 1.0}
        case tuple():
            return value[::-1]
    raise TypeError(f"no other value for {value!r}")


def changes(model: BaseModel) -> Iterator[tuple[str, bool, BaseModel]]:
    """The model with each of its fields, at any depth, changed alone: path, whether operational, result."""
    for name, field in type(model).model_fields.items():
        extra = field.json_schema_extra
        operational = isinstance(extra, dict) and bool(extra.get("operational"))
        value = getattr(model, name)
        inner: list[tuple[str, bool, object]] = []
        if isinstance(value, BaseModel):
            inner = list(changes(value))
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for index, item in enumerate(value):
                inner += [
                    (f"{index}.{path}", below, (*value[:index], changed, *value[index + 1 :]))
                    for path, below, changed in changes(item)
                ]
        else:
            yield name, operational, model.model_copy(update={name: another(value)})
        for path, below, changed in inner:
            yield f"{name}.{path}", operational or below, model.model_copy(update={name: changed})


CHANGES = list(changes(make_config()))


def test_every_leaf_is_reached():
    """The walk below meets nested sections, lists of models, and all members of the unions."""
    paths = {path for path, _, _ in CHANGES}
    assert {
        "seed",
        "queries.sampling.top_p",
        "judge_model.0.dtype",
        "judge_model.1.video_as",
        "plans.preferred.cross_frame.window_s",
        "decode.pixels.max_pixels",
        "response_model.pool.num_gpus",
    } <= paths
    assert len(paths) == len(CHANGES)


@pytest.mark.parametrize(("operational", "changed"), [change[1:] for change in CHANGES], ids=[c[0] for c in CHANGES])
def test_fingerprint_changes_exactly_with_what_can_change_the_output(operational: bool, changed: BaseModel):
    """Any field makes another fingerprint, unless it or a section above it is marked operational."""
    assert (fingerprint(changed) == fingerprint(make_config())) is operational


def test_operational_fields_are_these():
    """A mark on a field that changes the output would let a folder mix rows: each is listed here too."""
    marked = {
        name
        for model in (GenerateConfig, VllmModel, OpenAIModel, *_sections(GenerateConfig()))
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("operational")
    }
    assert marked == OPERATIONAL


def _sections(model: BaseModel) -> Iterator[type[BaseModel]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield type(value)
            yield from _sections(value)


def test_members_of_a_union_have_different_fingerprints():
    """Two kinds of plan whose numbers agree are still two plans."""
    uniform = make_config(plan=UniformPlan(num_frames=8))
    window = make_config(plan=WindowPlan(num_frames=8))
    assert fingerprint(uniform) != fingerprint(window)


def test_fingerprint_survives_json():
    """It is stored in run.json, and compared after reading it back."""
    stored = json.loads(json.dumps(fingerprint(make_config())))
    assert stored == json.loads(json.dumps(fingerprint(make_config())))
    assert "pool" not in stored["response_model"]
    assert stored["judge_model"][1]["model"] == "second"


def test_pools_may_change_between_a_run_and_its_resume():
    """A run begun on one GPU is continued on eight."""
    wide = VllmModel(
        model="response", tensor_parallel_size=8, pool=EnginePoolConfig(num_gpus=8, max_size=4, clips_in_flight=32)
    )
    assert fingerprint(make_config().model_copy(update={"response_model": wide})) == fingerprint(make_config())
