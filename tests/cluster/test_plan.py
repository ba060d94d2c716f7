"""Profiles and plans: what is measured is what was seen, and what is planned follows from it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.conftest import REPOSITORY
from tests.works import make_decoded, make_entry
from videopasta.cluster.calibrate import describe
from videopasta.cluster.estimate import (
    CHARS_PER_WORD,
    DESCRIPTION_WORDS,
    GUARDED_SHARE,
    INTERNVL_TOKENS_PER_FRAME,
    TOKENS_PER_WORD,
    Footage,
    estimate,
    parameters_of,
)
from videopasta.cluster.instances import Fleet, InstanceType, NodeGroup, load_instances, read_fleet
from videopasta.cluster.plan import make_plan, place, pools_of, recommend
from videopasta.cluster.profile import Profile, StageProfile, measure, plain_fingerprint, read_profile, write_profile
from videopasta.config import GenerateConfig, load_config
from videopasta.errors import UserError
from videopasta.generate.work import Calls, Work
from videopasta.prompts import load_prompts

RECIPE = load_config(GenerateConfig, REPOSITORY / "configs/videopasta_7k.yaml", [])
TINY = load_config(GenerateConfig, REPOSITORY / "configs/ci_random.yaml", [])
"""Query and response share a pool."""


def machine(**changes: object) -> InstanceType:
    values = {"name": "box", "cloud": "aws", "vcpus": 8, "memory_gib": 64, "on_demand_usd": 2.0, "spot_usd": 1.0}
    return InstanceType.model_validate(values | changes)


def group(name: str = "cpu", **changes: object) -> NodeGroup:
    values = {
        "instance": machine(), "min_nodes": 0, "max_nodes": 2, "spot": False, "cpus": 8, "gpus": 0, "resources": {},
    }  # fmt: skip
    return NodeGroup(name, **(values | changes))  # type: ignore[arg-type]


def gpu_group(name: str = "gpu", gpus: int = 2, **changes: object) -> NodeGroup:
    peaks = {"gpu_memory_gib": 80, "gpu_bf16_tflops": 1000, "gpu_bandwidth_gb_s": 3000}
    return group(name, instance=machine(gpus=gpus, gpu="X", **peaks), gpus=gpus, **changes)


def fleet(*groups: NodeGroup) -> Fleet:
    return Fleet("ours", machine(), groups or (group(), gpu_group(max_nodes=8)), idle_timeout_s=60)


def profile(config: GenerateConfig = RECIPE, **seconds: float) -> Profile:
    stages = tuple(StageProfile(name=name, actor_s=seconds.get(name, 1.0)) for name in pools_of(config))
    return Profile(
        source="measured", machine="box", made_at="", fingerprint=plain_fingerprint(config), clips=9, frames=48,
        frame_bytes=1e6, source_bytes=1e6, candidates=90, pairs=40, quarantined_share=0.0, output_bytes=5e4,
        stages=stages,
    )  # fmt: skip


def work(number: int) -> Work:
    """One of a run whose engine has two clips in flight, each for 4 s, and is never without."""
    at = 100.0 + 2 * number
    calls = Calls(
        role="query", plan_key="p", video_tokens=10, requests=3, prompt_tokens=300, completion_tokens=30,
        cached_tokens=200, least_cached_after_first=10,
    )  # fmt: skip
    decoded, _ = make_decoded(entry=make_entry(uris=(f"/videos/{number}.mp4",)))
    return decoded.having(
        calls=(calls,),
        started_at={"decode": at - 1, "query": at, "response": at + 2, "judge.0": at + 4},
        seconds={"decode": 0.5, "query": 2.0, "response": 2.0, "judge.0": 1.0},
    )


def measured(works: list[Work]) -> Profile:
    return measure(works, TINY, started_at=90.0, machine="box", made_at="", output_bytes=1000)


def test_actor_seconds_are_those_in_which_the_actor_had_work():
    """Clips that overlap in an engine share its time; waiting is not work."""
    made = {stage.name: stage for stage in measured([work(n) for n in range(10)]).stages}
    assert made["decode"].actor_s == pytest.approx(0.5)
    assert made["query+response"].actor_s == pytest.approx((10 * 2 + 2) / 10)
    assert made["query+response"].ready_s == pytest.approx(10)
    assert made["query+response"].prompt_tokens == 300
    assert made["judge.0"].actor_s == pytest.approx(1.0)


def test_calibration_without_clips_is_refused():
    """Nothing came through, so nothing was measured."""
    with pytest.raises(UserError, match="0 of 0 clips came through"):
        measured([])


def test_profile_is_read_as_it_was_written(tmp_path: Path):
    """Through YAML, and against its configuration."""
    made = measured([work(n) for n in range(3)])
    write_profile(made, tmp_path / "here/calibration.yaml")
    again = read_profile(tmp_path / "here/calibration.yaml")
    assert again == made
    again.check(TINY)
    with pytest.raises(UserError, match=r"queries\.per_mode"):
        again.check(load_config(GenerateConfig, REPOSITORY / "configs/ci_random.yaml", ["queries.per_mode=7"]))
    with pytest.raises(UserError, match="no such file"):
        read_profile(tmp_path / "nothing.yaml")
    (tmp_path / "other.yaml").write_text("a: 1")
    with pytest.raises(UserError, match="not what `videopasta calibrate` writes"):
        read_profile(tmp_path / "other.yaml")


def test_a_dry_calibration_says_what_it_would_run(tmp_path: Path):
    """Fewer clips than it may take where there are no more, and pools that stay at their smallest."""
    for num_frames in (20, 22):
        make_clip(tmp_path / f"{num_frames}.mp4", num_frames=num_frames)
    wide = load_config(GenerateConfig, REPOSITORY / "configs/ci_random.yaml", ["decode_pool.max_size=9"])
    assert describe(str(tmp_path), TINY, 24).startswith("2 of 2 clips, whose pairs are thrown away\ndecode: ")
    assert "decode: pyav, 1 to 1 actors" in describe(str(tmp_path), wide, 1)


def test_actors_go_where_they_fit_and_waste_least():
    """Decoders to nodes without GPUs, an engine of two GPUs to the group that has two, custom resources pin."""
    placed = place(pools_of(RECIPE), fleet(gpu_group("eight", 8), gpu_group("two", 2), group("cpu")))
    assert {name: where.group.name for name, where in placed.items()} == {
        "decode": "cpu", "query": "two", "response": "two", "judge.0": "two",
    }  # fmt: skip
    assert placed["response"].per_node == 2
    pinned = {"judge": RECIPE.judge_model[0].pool.model_copy(update={"resources": {"judge": 1}})}
    assert place(pinned, fleet(gpu_group("two"), gpu_group("pinned", 8, resources={"judge": 2}))) == {
        "judge": place(pinned, fleet(gpu_group("pinned", 8, resources={"judge": 2})))["judge"]
    }
    with pytest.raises(UserError, match=r"query: an actor of 1 CPUs, 2 GPUs, 0 GiB fits no node group of ours: small"):
        place(pools_of(RECIPE), fleet(gpu_group("small", 1)))


def test_pools_spread_over_equal_groups():
    """As the autoscaler does: none is left empty while another is too small."""
    groups = (
        group(),
        gpu_group("generate", max_nodes=5),
        gpu_group("judge", max_nodes=2),
        gpu_group("none", max_nodes=0),
    )
    placed = place(pools_of(RECIPE), fleet(*groups))
    assert {name: where.group.name for name, where in placed.items()} == {
        "decode": "cpu", "query": "generate", "response": "generate", "judge.0": "judge",
    }  # fmt: skip


def test_nodes_without_a_price_are_named():
    """And nothing is said of the cost, which would be too low."""
    unpriced = group("cpu", instance=machine(on_demand_usd=None))
    made = make_plan(profile(), RECIPE, fleet(unpriced, gpu_group(max_nodes=8)), 10, launch_s=0, spot_mean_h=8)
    assert (made.cost_usd, made.unpriced) == (None, ("cpu",))


def test_recommended_sizes_leave_no_pool_far_behind():
    """The slowest grows until its nodes are all used."""
    placed = place(pools_of(RECIPE), fleet(group(), gpu_group(max_nodes=6)))
    seconds = {"decode": 0.1, "query": 10.0, "response": 5.0, "judge.0": 20.0}
    sizes = recommend(seconds, placed)
    assert sizes == {"decode": 1, "query": 2, "response": 1, "judge.0": 3}


def test_the_bottleneck_sets_time_and_cost():
    """Twice the clips, about twice the hours; the cost is that of the nodes and the head."""
    made = make_plan(profile(query=30.0), RECIPE, fleet(), 1000, launch_s=0, spot_mean_h=8)
    assert made.bottleneck.name == "query"
    assert made.simulated.wall_s == pytest.approx(1000 * 30 / 2, rel=0.05)
    twice = make_plan(profile(query=30.0), RECIPE, fleet(), 2000, launch_s=0, spot_mean_h=8)
    assert twice.simulated.wall_s == pytest.approx(2 * made.simulated.wall_s, rel=0.05)
    assert made.cost_usd == pytest.approx(2.0 * sum(made.node_h.values()))
    assert made.gpu_h == pytest.approx(2 * made.node_h["gpu"])
    spot = fleet(group(), gpu_group(max_nodes=8, spot=True))
    cheaper = make_plan(profile(query=30.0), RECIPE, spot, 1000, launch_s=0, spot_mean_h=1e6)
    assert cheaper.cost_usd == pytest.approx(made.cost_usd - made.node_h["gpu"])


def test_plan_of_another_configuration_is_refused():
    """A measurement says nothing about other prompts, plans or models."""
    with pytest.raises(UserError, match="the calibration is of another configuration"):
        make_plan(profile(TINY), RECIPE, fleet(), 10, launch_s=0, spot_mean_h=8)


def test_one_machine_with_just_enough_gpus_is_enough():
    """2 for the query writer, 1 for the responses, 2 for the judge; decoders take the CPUs that are left."""
    one = Fleet("here", None, (gpu_group(gpus=5, max_nodes=1),), idle_timeout_s=0)
    made = make_plan(profile(), RECIPE, one, 50, launch_s=0, spot_mean_h=8)
    assert made.simulated.most_actors == {"decode": 5, "query": 1, "response": 1, "judge.0": 1}
    assert [pool.recommended for pool in made.pools] == [2, 1, 1, 1]


def test_smallest_pools_without_room_are_told():
    """Ray would wait for ever."""
    with pytest.raises(UserError, match="1 actors have no room on gpu of ours"):
        make_plan(profile(), RECIPE, fleet(group(), gpu_group(max_nodes=1)), 10, launch_s=0, spot_mean_h=8)


def test_the_papers_recipe_is_estimated_on_our_clusters():
    """Both shipped cluster files hold it; frames and requests are those of the configuration."""
    instances = load_instances()
    for file in ("cluster.yaml", "deploy/cluster-gcp.yaml"):
        found = read_fleet(str(REPOSITORY / file), instances)
        hosts = {name: where.group.instance for name, where in place(pools_of(RECIPE), found).items()}
        made = estimated(RECIPE, hosts)
        plan = make_plan(made, RECIPE, found, 1000, launch_s=240, spot_mean_h=8)
        assert made.frames == 32 + 16
        assert made.candidates == 3 * 10 * 3
        assert {stage.name: stage.requests for stage in made.stages}["response"] == 30 + 2 * 90
        assert plan.cost_usd is not None
        assert plan.gpu_h > 0


def estimated(config: GenerateConfig, hosts: Mapping[str, InstanceType] | None = None) -> Profile:
    """On one large GPU node, if not said otherwise."""
    hosts = hosts or dict.fromkeys(pools_of(config), gpu_group().instance)
    return estimate(config, load_prompts(None), Footage(), hosts, made_at="")


def judge_of(*changes: str) -> StageProfile:
    config = load_config(GenerateConfig, REPOSITORY / "configs/videopasta_7k.yaml", list(changes))
    return {stage.name: stage for stage in estimated(config).stages}["judge.0"]


def test_longer_reasons_cost_the_judge_tokens_up_to_its_longest_answer():
    """`max_reason_chars` is what a reason may have, `max_tokens` where it is cut."""
    short, usual, cut = (judge_of(f"judge.max_reason_chars={chars}") for chars in (20, 160, 100_000))
    votes = 90 * GUARDED_SHARE
    more = (160 - 20) / CHARS_PER_WORD * TOKENS_PER_WORD
    assert usual.completion_tokens - short.completion_tokens == pytest.approx(votes * more)
    assert cut.completion_tokens == pytest.approx(votes * RECIPE.judge.sampling.max_tokens)
    assert short.actor_s < usual.actor_s < cut.actor_s
    assert short.prompt_tokens == cut.prompt_tokens


def test_votes_of_one_judge_on_a_candidate_share_their_prompt():
    """Three samples read no more than one, and write three times as much."""
    one, three = judge_of(), judge_of("judge.num_samples=3", "judge.sampling.temperature=0.7")
    assert three.prompt_tokens == pytest.approx(3 * one.prompt_tokens)
    assert three.prompt_tokens - three.cached_tokens == pytest.approx(one.prompt_tokens)
    assert three.completion_tokens == pytest.approx(3 * one.completion_tokens)


def test_a_description_is_written_once_and_read_with_every_vote():
    """`describe_clip`: one request more of the response model, whose video is cached, and longer prompts of judges."""
    config = load_config(GenerateConfig, REPOSITORY / "configs/videopasta_7k.yaml", ["judge.describe_clip=true"])
    without, described = ({stage.name: stage for stage in estimated(one).stages} for one in (RECIPE, config))
    assert described["query"] == without["query"]
    written = described["response"].completion_tokens - without["response"].completion_tokens
    assert described["response"].requests == without["response"].requests + 1
    assert written == pytest.approx(DESCRIPTION_WORDS * TOKENS_PER_WORD)
    assert described["response"].cached_tokens - without["response"].cached_tokens == 16 * (364 // 28) * (644 // 28)
    read = described["judge.0"].prompt_tokens - without["judge.0"].prompt_tokens
    assert read > 90 * GUARDED_SHARE * written


def test_videos_are_counted_as_each_model_reads_them():
    """InternVL by frames, Qwen2.5-VL by pixels of two frames; a pool reads each once, and has it cached after."""
    query, response = (
        {stage.name: stage for stage in estimated(RECIPE).stages}[name] for name in ("query", "response")
    )
    dense, sparse = (num_frames // 2 * (364 // 28) * (644 // 28) for num_frames in (32, 16))
    assert query.cached_tokens == 2 * 32 * INTERNVL_TOKENS_PER_FRAME
    assert response.cached_tokens == 29 * dense + 89 * sparse
    one_model = RECIPE.model_copy(update={"query_model": RECIPE.response_model})
    _, both, _ = estimated(one_model).stages
    assert both.name == "query+response"
    assert both.cached_tokens == (3 + 29) * dense + 89 * sparse


def test_gpu_of_unknown_speed_must_be_measured():
    """As this machine's: an estimate would divide by nothing."""
    unknown = machine(gpus=2, gpu="X")
    with pytest.raises(UserError, match=r"query: no estimate for OpenGVLab/InternVL2_5-38B on box, .*calibrate"):
        estimated(RECIPE, dict.fromkeys(pools_of(RECIPE), unknown))


@pytest.mark.parametrize(
    ("name", "billions"),
    [("Qwen/Qwen2.5-VL-7B-Instruct", 7), ("OpenGVLab/InternVL2_5-38B", 38), ("org/model-0.5b", 0.5)],
)
def test_size_of_a_model_is_in_its_name(name: str, billions: float):
    """As hubs name them."""
    assert parameters_of(name) == billions * 1e9


def test_model_that_does_not_tell_its_size_must_be_measured():
    """No guess."""
    with pytest.raises(UserError, match="videopasta calibrate"):
        parameters_of("tiny:vl")
