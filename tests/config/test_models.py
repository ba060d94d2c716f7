import pytest
from pydantic import BaseModel, ValidationError

from videopasta.config import GenerateConfig, OpenAIModel, PoolConfig, UniformPlan, VllmModel, load_config
from videopasta.config.train import WorkersConfig


def test_values_never_change():
    """A configuration that travels to actors is the one that was shown."""
    with pytest.raises(ValidationError, match="frozen"):
        GenerateConfig().queries.per_mode = 3  # type: ignore[misc]


def test_lone_judge_is_a_jury_of_one():
    """One model and a list of one mean the same."""
    lone = GenerateConfig.model_validate({"judge_model": {"model": "a"}})
    listed = GenerateConfig.model_validate({"judge_model": [{"model": "a"}]})
    assert lone == listed
    assert lone.judge_model == (VllmModel(model="a"),)


def test_empty_jury_is_refused():
    """Somebody has to judge."""
    with pytest.raises(ValidationError, match="judge_model"):
        GenerateConfig.model_validate({"judge_model": []})


def test_tags_choose_the_model_and_have_defaults():
    """Without a tag, models are vLLM's and plans uniform."""
    config = GenerateConfig.model_validate(
        {
            "query_model": {"model": "a"},
            "response_model": {"engine": "openai", "model": "b"},
            "plans": {"query": {"num_frames": 4}},
        }
    )
    assert config.query_model == VllmModel(model="a")
    assert config.response_model == OpenAIModel(model="b")
    assert config.plans.query == UniformPlan(num_frames=4)


@pytest.mark.parametrize("model", [PoolConfig, WorkersConfig])
@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"GPU": 1}, "'GPU' is no custom resource: CPUs, GPUs and memory have keys of their own"),
        ({"memory": 1}, "'memory' is no custom resource"),
        ({"judge": 0}, "judge=0: give a share of 1, or a whole number above 0"),
        ({"judge": -1}, "judge=-1: give"),
        ({"judge": 1.5}, "judge=1.5: give"),
    ],
)
def test_custom_resources_are_amounts_that_ray_counts(model: type[BaseModel], resources: dict[str, float], says: str):
    """Ray would refuse them in the first actor, or count a GPU twice."""
    with pytest.raises(ValidationError, match=says):
        model.model_validate({"resources": resources})
    assert model.model_validate({"resources": {"judge": 1, "half": 0.5}})


def test_custom_resources_are_set_as_a_mapping_or_one_by_one():
    """As cluster.yaml and the Kubernetes job write it."""
    for override in ("judge_model.pool.resources={judge: 1}", "judge_model.pool.resources.judge=1"):
        config = load_config(GenerateConfig, None, [override])
        assert config.judge_model[0].pool.resources == {"judge": 1.0}
