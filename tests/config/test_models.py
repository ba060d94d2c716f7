import pytest
from pydantic import ValidationError

from videopasta.config import GenerateConfig, OpenAIModel, UniformPlan, VllmModel


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
