"""Single faults on a Ray of their own, with the stand-in for models: what the user is told, and what is kept."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from tests.chaos.endpoint import Endpoint
from tests.chaos.faults import fill_disk, free_disk
from tests.chaos.runs import scripted_config, small_disk
from videopasta.pairs import PairStore
from videopasta.tiny.render import write_video
from videopasta.tiny.world import scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight clips, and a configuration for the stand-in."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "videos").mkdir()
    for number, scene in enumerate(islice(scenes("train", seed=0), 8)):
        write_video(scene, folder / f"videos/{number}.mp4")
    (folder / "config.yaml").write_text(yaml.safe_dump(scripted_config(Endpoint())))
    return folder


@pytest.fixture(scope="module")
def start(folder, ray_folder):
    """Starts `videopasta generate` with a Ray of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(ray_folder)}
    # Actors of half a CPU each: more than this machine may have.
    small = [f"{pool}.{end}_size=1" for pool in ("decode_pool", "query_model.pool", "response_model.pool",
             "judge_model.pool") for end in ("min", "max")]  # fmt: skip

    def run(videos: Path, out: Path, *overrides: str) -> subprocess.Popen[str]:
        settings = [part for one in (*small, *overrides) for part in ("--set", one)]
        return subprocess.Popen(
            [sys.executable, "-m", "videopasta.cli", "generate", "--videos", str(videos), "--out", str(out),
             "--config", str(folder / "config.yaml"), *settings],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip

    return run


def write_plain_clip(path: Path, brightness: int) -> None:
    """White (255) is poison, black (0) is never answered: see `endpoint.py`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 84
        for _ in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((84, 84, 3), brightness, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def wait_for_a_shard(out: Path, process: subprocess.Popen[str]) -> None:
    while not any(out.glob("candidates/part-*.parquet")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def names(store: PairStore, kind: str) -> set[str]:
    return {Path(uri).name for row in store.read(kind, ["video_uris"]).to_pylist() for uri in row["video_uris"]}


@pytest.mark.parametrize(
    ("brightness", "reason", "deadline_s"),
    [(255, "engine_died", 3600), pytest.param(0, "deadline", 15, marks=pytest.mark.slow)],
)
def test_a_clip_that_ends_its_engine_is_given_up_and_the_others_are_not(
    start, folder, tmp_path, brightness, reason, deadline_s
):
    """Three times the actor is killed while it works on the clip, or waits for it in vain; the rest is done."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for path in (folder / "videos").iterdir():
        (videos / path.name).symlink_to(path)
    write_plain_clip(videos / "poison.mp4", brightness)
    # Of both roles: they share a pool as long as their settings are equal.
    settings = (f"{model}.pool.deadline_s={deadline_s}" for model in ("query_model", "response_model"))
    code, output = finish(start(videos, out, *settings))
    assert code == 0, output
    store = PairStore(str(out))
    (row,) = store.read("quarantine").to_pylist()
    assert (Path(row["video_uri"]).name, row["stage"], row["reason"]) == ("poison.mp4", "query", reason)
    assert row["detail"].startswith("3 times")
    assert names(store, "candidates") == {f"{number}.mp4" for number in range(8)}


def test_one_cause_for_all_clips_stops_the_run(start, tmp_path):
    """A mount that is not there: exit code 2, the reason, an example, and what to do then."""
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"/mnt/nowhere/{number}.mp4\n" for number in range(300)))
    code, output = finish(start(listing, tmp_path / "out", "breaker.window=20"))
    assert code == 2, output
    assert "20 of the last 20 clips failed for one reason, missing" in " ".join(output.split())
    assert "Traceback" not in output
    assert PairStore(str(tmp_path / "out")).read("quarantine").num_rows < 300


def test_a_terminated_run_commits_what_it_has(start, folder, tmp_path):
    """SIGTERM, as a job's stop sends it: exit code 143, whole shards, and the same command goes on."""
    out = tmp_path / "out"
    one_by_one = ("output.clips_per_shard=1", *(f"{m}.pool.clips_in_flight=1" for m in ("query_model", "judge_model")))
    process = start(folder / "videos", out, *one_by_one)
    wait_for_a_shard(out, process)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert (code, "Terminated" in output) == (128 + signal.SIGTERM, True), output
    done = names(PairStore(str(out)), "candidates")
    assert 1 <= len(done) < 8
    assert not json.loads((out / "run.json").read_text())["runs"][-1]["finished"]
    code, output = finish(start(folder / "videos", out))
    assert code == 0, output
    assert len(names(PairStore(str(out)), "candidates")) == 8


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which only root may")
def test_a_full_disk_is_told_and_nothing_is_lost(start, folder, tmp_path):
    """Exit code 2 with the file and the fix; with room again the same command goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk):
        out = disk / "out"
        process = start(folder / "videos", out, "output.clips_per_shard=1")
        wait_for_a_shard(out, process)
        fill_disk(out)
        code, output = finish(process)
        assert code == 2, output
        assert "cannot be written" in " ".join(output.split())
        assert "Traceback" not in output
        assert [path.name for path in out.rglob(".*")] == [".lock"]
        free_disk(out)
        code, output = finish(start(folder / "videos", out))
        assert code == 0, output
        store = PairStore(str(out))
        assert len(names(store, "candidates")) == 8
        ids = store.read("candidates")["pair_id"].to_pylist()
        assert len(ids) == len(set(ids))
        assert [path.name for path in out.rglob(".*")] == [".lock"]
