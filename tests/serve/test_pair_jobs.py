"""Pairs to order on a real head, with the stand-in models of tests/chaos/endpoint.py."""

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from tests.cluster.scripted import SECURED, TOKEN, generate_words, write_run
from tests.conftest import REPOSITORY
from tests.serve.chats import AUTHORIZED, OTHER_TOKEN, Scripted, make_config
from tests.serve.chats import TOKEN as CLIENT_TOKEN
from tests.test_ray_session import environment, started_head
from videopasta.config import ServeConfig
from videopasta.pairs import PairStore
from videopasta.serve.app import Service, make_app
from videopasta.serve.limits import Room
from videopasta.serve.pair_jobs import PairJobs, PairOrder, is_id
from videopasta.serve.tokens import Tokens

NUM_CLIPS = 8
JOB = f"pairs-{'0' * 24}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[SimpleNamespace]:
    """A head of one CPU, clips, and a recipe."""
    folder = tmp_path_factory.mktemp("orders")
    small = {"num_cpus": 0.1, "clips_in_flight": 1}
    pools = {"decode": small, "query": small, "response": small, "judge": small}
    write_run(folder, num_clips=NUM_CLIPS, pools=pools, output={"clips_per_shard": 1, "flush_s": 1})
    with started_head(folder, ray_folder / "p", TOKEN, **SECURED) as head:
        secured = environment(folder, **SECURED, RAY_ADDRESS=head.address, PYTHONPATH=str(REPOSITORY))
        videos = sorted(str(path) for path in (folder / "videos").glob("*.mp4"))
        yield SimpleNamespace(folder=folder, videos=videos, environment=secured)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def config_of(site: SimpleNamespace, root: Path, **pairs) -> ServeConfig:
    recipe = str(site.folder / "config.yaml")
    return make_config(
        decode={"sources": {"schemes": ["file"], "roots": [str(site.folder / "videos")]}},
        pairs={"root": str(root), "recipe": recipe, "max_videos": NUM_CLIPS, **pairs},
        limits={"requests_per_minute": 100_000},
    )


def open_service(site: SimpleNamespace, root: Path, **pairs) -> TestClient:
    """A service, as long as the client is open."""
    config = config_of(site, root, **pairs)
    jobs = PairJobs(config, site.environment)
    tokens = Tokens([CLIENT_TOKEN, OTHER_TOKEN])
    app = make_app(Service(config, tokens, Scripted(), Room(64), lambda _: None, jobs))
    return TestClient(app, headers=AUTHORIZED)


def until(client: TestClient, job_id: str, reached) -> dict:
    """The job, when it is so."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        job = client.get(f"/v1/pairs/{job_id}").json()
        if reached(job):
            return job
        time.sleep(0.2)
    raise AssertionError(f"not reached: {job}")


def order(client: TestClient, videos: list[str], *, key: str | None = None, **options):
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/pairs", json={"videos": videos, "options": options}, headers=headers)


def rows_of(rows: list[dict]) -> dict[str, dict]:
    """By pair, without what names the run; fails on an id that stands twice."""
    by_id = {row["pair_id"]: {name: value for name, value in row.items() if name != "run_id"} for row in rows}
    assert len(by_id) == len(rows)
    return by_id


@pytest.mark.slow
def test_a_job_goes_on_with_the_next_service_and_makes_what_generate_makes(site: SimpleNamespace, root: Path):
    """Ended in its middle and taken up from its folder: each clip once, the rows of `videopasta generate`."""
    with open_service(site, root) as client:
        answer = order(client, site.videos, key="k")
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["id"]
        assert answer.headers["location"] == f"/v1/pairs/{job_id}"
        begun = until(client, job_id, lambda job: job["num_clips_done"])
        assert begun["status"] == "running"
        assert client.get(f"/v1/pairs/{job_id}/result").status_code == 409
    done_before = len(PairStore(str(root / job_id / "out")).ledger().clip_ids)
    assert 0 < done_before < NUM_CLIPS

    with open_service(site, root) as client:
        assert order(client, site.videos, key="k").json()["id"] == job_id
        done = until(client, job_id, lambda job: job["status"] not in ("queued", "running"))
        assert (done["status"], done["num_clips_done"]) == ("succeeded", NUM_CLIPS)
        lines = client.get(f"/v1/pairs/{job_id}/result").text.splitlines()
        parquet = client.get(f"/v1/pairs/{job_id}/result", params={"format": "parquet"}).content
    out = site.folder / "by_hand"
    command = [sys.executable, "-m", "videopasta.cli", "generate", *generate_words(site.folder, out)]
    made = subprocess.run(command, env=site.environment, capture_output=True, text=True, timeout=240, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    expected = rows_of(PairStore(str(out)).read("pairs").to_pylist())
    assert len(expected) == done["num_pairs"] > 0
    assert rows_of([json.loads(line) for line in lines]) == json.loads(json.dumps(expected))
    assert rows_of(pq.read_table(io.BytesIO(parquet)).to_pylist()) == expected


def test_cancelled_jobs_keep_what_they_committed(site: SimpleNamespace, root: Path):
    """One that waits never runs; one that runs ends; both stay as they are, also for the next service."""
    with open_service(site, root) as client:
        running = order(client, site.videos, seed=1).json()["id"]
        waiting = order(client, site.videos, seed=2).json()
        assert waiting["status"] == "queued"
        assert client.delete(f"/v1/pairs/{waiting['id']}").json()["status"] == "cancelled"
        until(client, running, lambda job: job["num_clips_done"])
        job = client.delete(f"/v1/pairs/{running}").json()
        assert job["status"] == "cancelled"
        assert 0 < job["num_clips_done"] < NUM_CLIPS
        lines = client.get(f"/v1/pairs/{running}/result").text.splitlines()
        assert len(lines) == job["num_pairs"]
    with open_service(site, root) as client:
        assert client.get(f"/v1/pairs/{running}").json() == job
        assert client.delete(f"/v1/pairs/{running}").json() == job


def test_a_key_is_one_order_of_one_client(site: SimpleNamespace, root: Path):
    """Another order with it is refused, another client's is another job, without one each order is."""
    with open_service(site, root) as client:
        first = order(client, site.videos[:1], key="k")
        assert order(client, site.videos[:1], key="k").json()["id"] == first.json()["id"]
        other = order(client, site.videos[:2], key="k")
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
        ids = {first.json()["id"], *(order(client, site.videos[:1]).json()["id"] for _ in range(2))}
        client.headers["Authorization"] = f"Bearer {OTHER_TOKEN}"
        ids.add(order(client, site.videos[:1], key="k").json()["id"])
        assert len(ids) == 4
        assert all(map(is_id, ids))
        for job_id in ids:
            client.delete(f"/v1/pairs/{job_id}")


def test_orders_and_ends_are_whole_when_their_client_goes_away(site: SimpleNamespace, root: Path):
    """Left in the middle, a job is done all the same; cancelled twice and left, it ends once, with all it committed."""

    async def left(asking: Coroutine, file: Path) -> None:
        task = asyncio.create_task(asking)
        while not file.exists():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def ask() -> None:
        jobs = PairJobs(config_of(site, root), site.environment)
        whole = PairOrder(videos=tuple(site.videos))
        await left(jobs.order(whole, client="a", key="k"), root)
        job = await jobs.order(whole, client="a", key="k")
        assert sum(jobs.counts().values()) == 1
        while not job.num_clips_done:
            await asyncio.sleep(0.1)
            job = await jobs.look(job.id)
        await left(jobs.cancel(job.id), root / job.id / "ended.json")
        first, second = await asyncio.gather(jobs.cancel(job.id), jobs.cancel(job.id))
        assert first.status == "cancelled"
        assert first == second == await jobs.look(job.id)
        assert jobs.counts() == {"running": 0, "queued": 0}
        assert not jobs._stopping

    asyncio.run(ask())


def test_the_first_end_counts(site: SimpleNamespace, root: Path):
    """A run that is over as a client cancels it, and the other way round: one record, which nobody writes over."""

    async def end() -> None:
        jobs = PairJobs(config_of(site, root), site.environment)
        ends = [{"status": "succeeded"}, {"status": "cancelled"}] * 10
        await asyncio.gather(*(jobs._end(JOB, one) for one in ends))
        assert json.loads((root / JOB / "ended.json").read_text()) == ends[0]

    asyncio.run(end())


def test_jobs_that_wait_are_bounded(site: SimpleNamespace, root: Path):
    """429 for one more; the key of one that was taken still finds it."""
    with open_service(site, root, max_waiting=1) as client:
        first = order(client, site.videos, seed=1).json()["id"]
        until(client, first, lambda job: job["status"] == "running")
        waiting = order(client, site.videos, key="k", seed=2)
        refused = order(client, site.videos, seed=3)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert refused.json()["error"]["code"] == "too_many_jobs"
        assert order(client, site.videos, key="k", seed=2).json()["id"] == waiting.json()["id"]
        for job_id in (waiting.json()["id"], first):
            assert client.delete(f"/v1/pairs/{job_id}").json()["status"] == "cancelled"


def test_a_run_that_fails_says_why(site: SimpleNamespace, root: Path):
    """The command's own words: here its folder holds other files."""
    with open_service(site, root) as client:
        job_id = order(client, site.videos, key="k").json()["id"]
        client.delete(f"/v1/pairs/{job_id}")
    (root / job_id / "ended.json").unlink()
    for path in sorted((root / job_id / "out").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / job_id / "out/other.txt").write_text("")
    with open_service(site, root) as client:
        failed = until(client, job_id, lambda job: job["status"] not in ("queued", "running"))
    assert failed["status"] == "failed"
    assert "not empty and not ours" in failed["error"]


def test_orders_that_cannot_be_done_are_not_taken(site: SimpleNamespace, root: Path):
    """Nothing is written for them."""
    outside = str(site.folder / "config.yaml")
    with open_service(site, root) as client:
        for answer, status, words in (
            (order(client, [outside]), 403, "not below a root"),
            (order(client, [f"{site.folder}/videos/../config.yaml"]), 403, "not below a root"),
            (order(client, ["http://169.254.169.254/latest"]), 403, "has no `http`"),
            (order(client, ["a.mp4"]), 400, "relative"),
            (order(client, []), 400, "at least 1"),
            (order(client, [*site.videos, site.videos[0]]), 400, "at most 8"),
            (order(client, site.videos, judge_model="other"), 400, "no such parameter"),
            (order(client, ["/v" * 3000]), 400, "at most 4096 characters"),
            (order(client, site.videos, key=""), 400, "idempotency-key"),
            (order(client, site.videos, num_adversaries=9), 400, "responses.num_adversaries = 9"),
            (client.get("/v1/pairs/pairs-000000000000000000000000"), 404, "no job"),
            (client.get("/v1/pairs/..%2F..%2Fetc"), 404, ""),
            (client.get("/v1/pairs/x/result?format=csv"), 400, "format"),
        ):
            assert answer.status_code == status, answer.text
            assert words in answer.json()["error"]["message"]
    assert not root.exists()
