from pathlib import Path

import pytest
import yaml

from videopasta.config import (
    EvaluateConfig,
    FpsPlan,
    GenerateConfig,
    NativePlan,
    OpenAIModel,
    ServeConfig,
    TrainConfig,
    UniformPlan,
    VllmModel,
    differences,
    dump_yaml,
    load_config,
)
from videopasta.errors import UserError

REPOSITORY = Path(__file__).parents[2]
SHIPPED = sorted([*(REPOSITORY / "configs").glob("*.yaml"), *(REPOSITORY / "videopasta/tiny").glob("*.yaml")])


def load(text: str, *overrides: str, folder: Path) -> GenerateConfig:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(GenerateConfig, path, overrides)


def mistakes(text: str, *overrides: str, folder: Path) -> list[str]:
    """The lines of the one error, without its heading."""
    with pytest.raises(UserError) as error:
        load(text, *overrides, folder=folder)
    return [line.strip() for line in str(error.value).splitlines()[1:]]


def test_no_file_gives_the_defaults():
    """Nothing given is the paper's run."""
    assert load_config(GenerateConfig) == GenerateConfig()


def test_empty_file_gives_the_defaults(tmp_path: Path):
    """A file of comments alone changes nothing."""
    assert load("# nothing\n", folder=tmp_path) == GenerateConfig()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configurations_load(path: Path):
    """Every shipped file is valid for the command that its name begins with."""
    kinds = {"dpo": TrainConfig, "train": TrainConfig, "evaluate": EvaluateConfig, "serve": ServeConfig}
    kind = kinds.get(path.stem.partition("_")[0], GenerateConfig)
    assert isinstance(load_config(kind, path), kind)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("querys: {per_mode: 3}", "querys: no such key; did you mean 'queries'?"),
        ("per_mode: 3", "per_mode: no such key; did you mean 'queries.per_mode'?"),
        (
            "queries: {sampling: {tempreature: 1}}",
            "queries.sampling.tempreature: no such key; did you mean 'temperature'?",
        ),
        (
            "plans: {query: {kind: fps, num_frames: 4}}",
            "plans.query.num_frames: no such key with kind: fps; did you mean 'max_frames'?",
        ),
        (
            "judge_model: [{model: a}, {engine: openai, model: b, base_ulr: x}]",
            "judge_model.1.base_ulr: no such key with engine: openai; did you mean 'base_url'?",
        ),
        ("output: {xyz: 1}", "output.xyz: no such key; there are clips_per_shard, flush_s"),
        ("queries: {per_mode: 0}", "queries.per_mode = 0: Input should be greater than or equal to 1"),
        (
            "failure_modes: [spatal]",
            "failure_modes.0 = 'spatal': Input should be 'spatial', 'temporal' or 'cross_frame'",
        ),
        (
            "query_model: {engine: vlm, model: m}",
            "query_model.engine = 'vlm': choose one of 'vllm', 'openai'",
        ),
        (
            "plans: {query: {kind: dense}}",
            "plans.query.kind = 'dense': choose one of 'uniform', 'fps', 'native', 'window'",
        ),
        ("query_model: {}", "query_model.model: Field required"),
        (
            "queries: 3",
            "queries = 3: expected keys below it: max_chars, max_rounds, per_mode, sampling",
        ),
        (
            "responses: {min_words: 30}",
            "responses: max_words=20 is below min_words=30; raise max_words",
        ),
        (
            "judge: {num_samples: 3}",
            "judge: num_samples=3 with temperature=0 gives equal votes; "
            "set judge.sampling.temperature above 0 or num_samples to 1",
        ),
        (
            "decode_pool: {min_size: 9}",
            "decode_pool: max_size=8 is below min_size=9; raise max_size",
        ),
        (
            "decode: {pixels: {min_pixels: 900, max_pixels: 800}}",
            "decode.pixels: min_pixels=900 is more than max_pixels=800; swap them",
        ),
        (
            "failure_modes: [spatial, spatial]",
            "top level: failure_modes=['spatial', 'spatial']: name each at most once, at least one",
        ),
    ],
)
def test_mistake_names_key_value_and_fix(text: str, line: str, tmp_path: Path):
    """One mistake is one line, which says where, what is there, and what to write."""
    assert mistakes(text, folder=tmp_path) == [line]


def test_every_mistake_is_told_at_once(tmp_path: Path):
    """A file with several mistakes is mended in one go."""
    lines = mistakes("seed: x\nnonsense: 1\nguards: {min_words: 0}", folder=tmp_path)
    assert [line.partition(":")[0] for line in lines] == ["seed = 'x'", "guards.min_words = 0", "nonsense"]


def test_error_names_the_file(tmp_path: Path):
    """The heading says which file, and that --set was applied when it was."""
    with pytest.raises(UserError, match=r"run\.yaml\) has 1 mistake"):
        load("seed: x", folder=tmp_path)
    with pytest.raises(UserError, match=r"run\.yaml with --set\) has 1 mistake"):
        load("", "seed=x", folder=tmp_path)


@pytest.mark.parametrize(
    ("plan", "key"),
    [
        ("kind: uniform, num_frames: 7", "num_frames"),
        ("kind: fps, max_frames: 7", "max_frames"),
        ("kind: native, max_frames: 7", "max_frames"),
        ("kind: window, num_frames: 7", "num_frames"),
    ],
)
def test_odd_frame_count_is_refused_with_the_next_even_one(plan: str, key: str, tmp_path: Path):
    """Qwen2.5-VL merges frames in pairs, so an odd count is a mistake in each kind of plan."""
    assert mistakes(f"plans: {{query: {{{plan}}}}}", folder=tmp_path) == [
        f"plans.query.{key} = 7: {key}=7: Qwen2.5-VL merges frames in pairs; use 8"
    ]


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("judge: {sampling: {max_tokens: 64}}", ["judge.sampling.max_tokens=64"]),
        ("responses: {preferred: {max_tokens: 24}}", ["responses.preferred.max_tokens=24"]),
        ("decode_pool: {num_cpus: 0.5}", ["decode_pool.num_cpus=0.5"]),
        ("plans: {adversarial: {max_frames: 8}}", ["plans.adversarial.max_frames=8"]),
        ("plans: {query: {kind: native}}", ["plans.query.kind=native"]),
    ],
)
def test_section_given_in_part_keeps_its_other_defaults(text: str, overrides: list[str], tmp_path: Path):
    """A file and --set mean the same: the judge stays greedy when only its tokens are set."""
    assert load(text, folder=tmp_path) == load_config(GenerateConfig, None, overrides)


def test_model_given_in_a_file_takes_nothing_from_the_default_model(tmp_path: Path):
    """Whether to trust InternVL's own code is no setting for another model."""
    assert load("query_model: {model: a}", folder=tmp_path).query_model == VllmModel(model="a")


@pytest.mark.parametrize("text", ["seed: [", "seed: 1\n\tjudge: 2", "a: b: c"])
def test_file_that_is_not_yaml_says_where(text: str, tmp_path: Path):
    """The parser's place in the file reaches the user."""
    with pytest.raises(UserError, match=r"(?s)run\.yaml is not YAML: .*line \d"):
        load(text, folder=tmp_path)


@pytest.mark.parametrize(("text", "found"), [("- 3", "list"), ("hello", "str"), ("3", "int")])
def test_file_without_keys_is_refused(text: str, found: str, tmp_path: Path):
    """YAML that is no mapping is no configuration."""
    with pytest.raises(UserError, match=f"expected `key: value` lines, found {found}"):
        load(text, folder=tmp_path)


def test_missing_or_binary_file_is_the_users(tmp_path: Path):
    """A wrong path or a wrong file is told without a traceback."""
    with pytest.raises(UserError, match=r"--config .*none\.yaml"):
        load_config(GenerateConfig, tmp_path / "none.yaml")
    (tmp_path / "video.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"--config .*video\.yaml"):
        load_config(GenerateConfig, tmp_path / "video.yaml")


def test_override_reaches_nested_keys_and_leaves_the_rest(tmp_path: Path):
    """--set changes one value of the resolved configuration, the file's other values stay."""
    config = load("queries: {per_mode: 3, sampling: {max_tokens: 9}}", "queries.sampling.top_p=0.5", folder=tmp_path)
    assert config.queries.per_mode == 3
    assert config.queries.sampling.max_tokens == 9
    assert config.queries.sampling.top_p == 0.5


def test_override_value_is_yaml(tmp_path: Path):
    """Lists, mappings, null, booleans and numbers are written as in the file."""
    config = load(
        "prompts: folder",
        "failure_modes=[temporal, spatial]",
        "plans.query={kind: native, max_frames: 4}",
        "prompts=null",
        "guards.drop_refusals=no",
        "judge.min_confidence=1e-3",
        folder=tmp_path,
    )
    assert config.failure_modes == ("temporal", "spatial")
    assert config.plans.query == NativePlan(max_frames=4)
    assert config.prompts is None
    assert config.guards.drop_refusals is False
    assert config.judge.min_confidence == 0.001


def test_override_reaches_a_lone_judge_and_each_of_several(tmp_path: Path):
    """`judge_model.KEY` means the only judge, `judge_model.1.KEY` the second of several."""
    lone = load("", "judge_model.dtype=float32", folder=tmp_path)
    assert [judge.dtype for judge in lone.judge_model if isinstance(judge, VllmModel)] == ["float32"]
    several = load("judge_model: [{model: a}, {model: b}]", "judge_model.1.dtype=float32", folder=tmp_path)
    assert [judge.dtype for judge in several.judge_model if isinstance(judge, VllmModel)] == [
        "auto",
        "float32",
    ]


def test_override_of_a_key_of_several_judges_says_how_to_name_one(tmp_path: Path):
    """Which judge is meant is not guessed."""
    with pytest.raises(UserError, match=r"judge_model is a list of 2, .*judge_model\.0"):
        load("judge_model: [{model: a}, {model: b}]", "judge_model.dtype=float32", folder=tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [("plans.query.kind=fps", "plans.query.fps=2"), ("plans.query.fps=2", "plans.query.kind=fps")],
)
def test_override_of_a_plans_kind_starts_from_that_kinds_defaults(overrides: tuple[str, ...], tmp_path: Path):
    """The old kind's keys go with it; keys of the new one may be set in any order."""
    assert load("", *overrides, folder=tmp_path).plans.query == FpsPlan(fps=2)


def test_override_of_an_engine_keeps_the_model(tmp_path: Path):
    """The model's name is what both engines need; the pool of GPUs belongs to the engine that goes."""
    config = load("", "response_model.engine=openai", folder=tmp_path)
    assert config.response_model == OpenAIModel(model="Qwen/Qwen2.5-VL-7B-Instruct")


def test_override_that_repeats_the_kind_loses_nothing(tmp_path: Path):
    """Setting the kind that is there already leaves its keys."""
    config = load("plans: {query: {num_frames: 8}}", "plans.query.kind=uniform", folder=tmp_path)
    assert config.plans.query == UniformPlan(num_frames=8)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("seed=[", "the value is not YAML"),
        ("seed.x=3", "seed is 0, it has no keys below it"),
        ("querys.per_mode=3", "querys: no such key; did you mean 'queries'"),
        ("queries.per_mode=many", "queries.per_mode = 'many'"),
    ],
)
def test_mistaken_override_is_named(override: str, message: str, tmp_path: Path):
    """A bad --set is one error that says which and why."""
    with pytest.raises(UserError) as error:
        load("", override, folder=tmp_path)
    assert "--set" in str(error.value)
    assert message in str(error.value)


def test_dumped_yaml_loads_as_the_same_configuration(tmp_path: Path):
    """What --dry-run shows can be saved and run, unions and lists included."""
    config = GenerateConfig.model_validate(
        {
            "seed": 7,
            "failure_modes": ["cross_frame", "spatial"],
            "query_model": {"engine": "openai", "model": "größer", "base_url": "http://localhost:8000/v1"},
            "judge_model": [{"model": "a", "dtype": "float32"}, {"engine": "openai", "model": "b"}],
            "plans": {
                "query": {"kind": "window", "window_s": 2.5},
                "preferred": {"spatial": {"kind": "native"}},
            },
            "prompts": "my: folder # with signs",
        }
    )
    text = dump_yaml(config)
    assert load(text, folder=tmp_path) == config
    assert set(yaml.safe_load(text)) == set(GenerateConfig.model_fields)


def test_differences_names_each_changed_key_once():
    """Equal values and equal sections are silent; added and removed keys count as changed."""
    old = {"same": 1, "section": {"a": 1, "b": [1, 2]}, "gone": 3}
    new = {"same": 1, "section": {"a": 2, "b": [1, 2]}, "added": {"x": 1}}
    assert list(differences(old, new)) == [
        "added: None -> {'x': 1}",
        "gone: 3 -> None",
        "section.a: 1 -> 2",
    ]
    assert list(differences(old, old)) == []
