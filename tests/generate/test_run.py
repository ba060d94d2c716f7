from pathlib import Path

import pytest

from tests.works import make_entry, make_failed, make_finished
from videopasta.config import EnginePoolConfig, GenerateConfig, OpenAIModel, PoolConfig, VllmModel
from videopasta.config.generate import OutputConfig, ResponsesConfig
from videopasta.errors import UserError
from videopasta.generate.run import _Committer, check_config, check_resources, plan_run, run_fingerprint
from videopasta.generate.work import Work
from videopasta.pairs import PairStore
from videopasta.prompts import SHIPPED, load_prompts


def make_config(*, clips_per_shard: int = 2, flush_s: float = 3600.0, num_gpus: float = 0.0) -> GenerateConfig:
    model = VllmModel(model="m", pool=EnginePoolConfig(min_size=2, max_size=4, num_cpus=0.5, num_gpus=num_gpus))
    return GenerateConfig(
        query_model=model,
        response_model=model,
        judge_model=(model,),
        decode_pool=PoolConfig(num_cpus=0.5),
        output=OutputConfig(clips_per_shard=clips_per_shard, flush_s=flush_s),
    )


def make_remote_config(*, num_adversaries: int = 3) -> GenerateConfig:
    """Models behind an endpoint, which nothing looks for before the run."""
    model = OpenAIModel(model="m", base_url="http://127.0.0.1:9/v1")
    return GenerateConfig(
        query_model=model,
        response_model=model,
        judge_model=(model,),
        responses=ResponsesConfig(num_adversaries=num_adversaries),
    )


def make_store(folder: Path) -> PairStore:
    store = PairStore(str(folder / "out"))
    store.open({})
    return store


def make_committer(store: PairStore, *, run_id: str = "run1", config: GenerateConfig | None = None) -> _Committer:
    return _Committer(store, run_id, {}, config or make_config())


def clip(name: str, *, content: str | None = None) -> Work:
    return make_finished(content=content or name, entry=make_entry(uris=(f"/v/{name}.mp4",)))


def test_more_adversaries_than_a_mode_has_is_told_before_the_run():
    """With the names there are, and where to add some."""
    config = make_remote_config(num_adversaries=4)
    with pytest.raises(UserError, match=r"num_adversaries = 4: spatial has 3 \(false_presupposition, .*spatial\.yaml"):
        check_config(config)
    assert check_config(make_remote_config()).hashes == load_prompts().hashes


def test_pools_that_do_not_fit_are_told_with_what_there_is():
    """One pool for the shared model: 2 actors of half a CPU, and half a CPU to decode."""
    enough = {"CPU": 1.5, "GPU": 2.0, "memory": 2**30}
    check_resources(make_config(), enough)
    with pytest.raises(
        UserError, match=r"need 1\.5 CPUs, 0 GPUs and 0\.0 GiB of memory, this machine has 1, 2 and 1\.0"
    ):
        check_resources(make_config(), enough | {"CPU": 1.0})
    check_resources(make_config(num_gpus=1), enough)
    with pytest.raises(UserError, match=r"2 GPUs and 0\.0 GiB of memory, this machine has 1\.5, 1 and"):
        check_resources(make_config(num_gpus=1), enough | {"GPU": 1.0})
    hungry = make_config().model_copy(update={"decode_pool": PoolConfig(num_cpus=0.5, memory_gib=1.5)})
    with pytest.raises(UserError, match=r"and 1\.5 GiB of memory, this machine has 1\.5, 2 and 1\.0"):
        check_resources(hungry, enough)
    pinned = make_config().model_copy(update={"decode_pool": PoolConfig(num_cpus=0.5, resources={"decode": 1})})
    check_resources(pinned, enough | {"decode": 1.0})
    with pytest.raises(
        UserError, match=r"need 1 of the custom resource 'decode', this machine has 0:\n.*and 1 decode,"
    ):
        check_resources(pinned, enough)


def test_folder_depends_on_settings_and_prompts_not_on_pools(tmp_path: Path):
    """A template's text changes what rows mean; the number of actors does not."""
    (tmp_path / "judge.j2").write_text((SHIPPED / "judge.j2").read_text(encoding="utf-8") + "Be strict.")
    base = run_fingerprint(make_config(), load_prompts())
    assert run_fingerprint(make_config(clips_per_shard=9, num_gpus=4), load_prompts()) == base
    assert run_fingerprint(make_config(), load_prompts(str(tmp_path))) != base


def test_plan_leaves_out_what_is_committed_and_writes_nothing(tmp_path: Path):
    """A dry run may look at a folder that does not exist yet."""
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    out = tmp_path / "out"
    plan = plan_run(str(tmp_path), PairStore(str(out)), make_remote_config())
    assert (plan.num_entries, plan.num_done, len(plan.missing)) == (2, 0, 2)
    assert not out.exists()
    store = PairStore(str(out))
    store.open(run_fingerprint(make_remote_config(), plan.prompts))
    store.commit([make_finished(entry=plan.missing[0])], run_id="run", number=0, prompt_hashes={})
    again = plan_run(str(tmp_path), store, make_remote_config())
    assert (again.num_entries, again.num_done, again.missing) == (2, 1, plan.missing[1:])


def test_plan_refuses_a_folder_of_another_configuration(tmp_path: Path):
    """Also in a dry run: what the real run would refuse is told before."""
    (tmp_path / "a.mp4").write_bytes(b"a")
    store = make_store(tmp_path)
    with pytest.raises(UserError, match="another configuration"):
        plan_run(str(tmp_path), store, make_remote_config())


def test_missing_key_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch):
    """With the variable's name; a server of one's own needs none."""
    monkeypatch.delenv("MY_KEY", raising=False)
    model = OpenAIModel(model="m", api_key_env="MY_KEY")
    config = GenerateConfig(query_model=model, response_model=model, judge_model=(model,))
    with pytest.raises(UserError, match="MY_KEY"):
        check_config(config)
    monkeypatch.setenv("MY_KEY", "k")
    check_config(config)


def test_copies_of_a_video_are_one_clip(tmp_path: Path):
    """Two names of the same bytes are processed once."""
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"same")
    plan = plan_run(str(tmp_path), PairStore(str(tmp_path / "out")), make_remote_config())
    assert [entry.uris for entry in plan.missing] == [(f"{tmp_path}/a.mp4", f"{tmp_path}/b.mp4")]


def test_shard_is_committed_when_it_is_full(tmp_path: Path):
    """And the rest at the end; failures count as clips."""
    store = make_store(tmp_path)
    committer = make_committer(store)
    committer.add(clip("a"))
    assert len(store.read("pairs")) == 0
    committer.add(make_failed(entry=make_entry(uris=("/v/b.mp4",))))
    assert (len(store.read("pairs")), len(store.read("quarantine"))) == (1, 1)
    committer.add(clip("c"))
    assert len(store.read("pairs")) == 1
    committer.flush()
    committer.flush()
    assert len(store.read("pairs")) == 2
    assert len(list((tmp_path / "out" / "pairs").iterdir())) == 2


def test_content_met_twice_in_a_run_is_written_once(tmp_path: Path):
    """Two remote names of equal bytes: the second becomes a quarantined duplicate."""
    store = make_store(tmp_path)
    committer = make_committer(store)
    assert committer.add(clip("a", content="x")).failure is None
    second = committer.add(clip("b", content="x"))
    assert second.failure is not None
    assert (second.failure.stage, second.failure.reason) == ("commit", "duplicate")
    assert len(store.read("pairs")) == 1
    assert store.read("quarantine", ["video_uri"]).to_pylist() == [{"video_uri": "/v/b.mp4"}]


def test_content_of_an_earlier_run_is_not_written_again(tmp_path: Path):
    """Whatever it is called now."""
    store = make_store(tmp_path)
    first = make_committer(store)
    first.add(clip("a", content="x"))
    first.flush()
    later = make_committer(store, run_id="run2")
    assert later.add(clip("renamed", content="x")).failure is not None
    later.flush()
    assert len(store.read("pairs")) == 1
