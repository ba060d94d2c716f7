"""A run as a job of a real head behind a token: its exit code, its log, and what a stopped one leaves."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cluster.scripted import SECURED, TOKEN, generate_words, write_run
from tests.conftest import REPOSITORY
from tests.test_ray_session import RAY_COMMAND, environment, started_head
from videopasta.cluster.jobs import dashboard_address
from videopasta.pairs import PairStore

NUM_CLIPS = 12


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[SimpleNamespace]:
    """A head of one CPU, clips, and a configuration whose models are the stand-in of tests/chaos/endpoint.py."""
    folder = tmp_path_factory.mktemp("jobs")
    small = {"num_cpus": 0.1, "clips_in_flight": 1}
    pools = {"decode": small, "query": small, "response": small, "judge": small}
    write_run(folder, num_clips=NUM_CLIPS, pools=pools, output={"clips_per_shard": 2, "flush_s": 2})
    # As on a cluster's nodes, `python` is the one that has the package.
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with started_head(folder, ray_folder / "j", TOKEN, PATH=path, **SECURED) as head:
        yield SimpleNamespace(folder=folder, dashboard=head.dashboard, environment=environment(folder, **SECURED))


def ray_job(site: SimpleNamespace, *words: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """`ray job ...`, from the repository."""
    command = [str(RAY_COMMAND), "job", words[0], f"--address={site.dashboard}", *map(str, words[1:])]
    return subprocess.run(
        command, cwd=REPOSITORY, env=site.environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def submit(site: SimpleNamespace, *words: object) -> subprocess.CompletedProcess[str]:
    """`videopasta submit ...`."""
    command = [sys.executable, "-m", "videopasta.cli", "submit", f"--address={site.dashboard}", *map(str, words)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=site.environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_generate_is_a_job(site: SimpleNamespace):
    """`ray job submit` of the script's docstring makes the pairs; its log is what the command says, and not more."""
    out = site.folder / "submitted"
    script = ["--working-dir", ".", "--", "python", "ray_jobs/generate_pairs.py"]
    done = ray_job(site, "submit", *script, *generate_words(site.folder, out))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f"{NUM_CLIPS} clips in " in said
    assert len(said.splitlines()) < 120, said
    assert len(PairStore(str(out)).ledger().clip_ids) == NUM_CLIPS


def test_submit_ends_as_the_job_does(site: SimpleNamespace):
    """A mistake's exit code and words come back; so do those of a run with nothing left to do."""
    done = submit(site, "inspect", site.folder / "nothing")
    assert done.returncode != 0
    assert "no run.json" in done.stdout
    made = submit(site, "generate", *generate_words(site.folder, site.folder / "submitted"))
    assert made.returncode == 0, made.stdout + made.stderr
    assert "Nothing to do." in made.stdout


def test_a_job_goes_to_the_address_that_is_given():
    """Then to Ray's variables, then to where a tunnel ends; Ray's own client would look for a head's processes."""
    server, address = {"RAY_API_SERVER_ADDRESS": "http://b:1"}, {"RAY_ADDRESS": "c:2"}
    assert dashboard_address("http://a:1", server | address) == "http://a:1"
    assert dashboard_address(None, server | address) == "http://b:1"
    assert dashboard_address(None, address) == "c:2"
    assert dashboard_address(None, {}) == "http://127.0.0.1:8265"


def test_submit_says_what_is_wrong_with_the_address_or_the_token(site: SimpleNamespace):
    """No dashboard there, whatever RAY_ADDRESS says, and no token: exit code 2 and the fix, without a traceback."""
    command = [sys.executable, "-m", "videopasta.cli", "submit"]
    for address, token, word in (
        ("http://127.0.0.1:9", TOKEN, "no Ray dashboard at http://127.0.0.1:9"),
        (site.dashboard, "0" * 64, "uthenticat"),
    ):
        done = subprocess.run(
            [*command, f"--address={address}", "doctor"], cwd=site.folder, capture_output=True, text=True,
            env=site.environment | {"RAY_AUTH_TOKEN": token, "RAY_ADDRESS": site.dashboard}, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stdout + done.stderr
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_stopped_job_leaves_what_it_committed(site: SimpleNamespace):
    """`ray job stop` in the middle: the shards are whole, and the same command makes the rest."""
    out = site.folder / "stopped"
    started = submit(site, "--no-wait", "generate", *generate_words(site.folder, out))
    assert started.returncode == 0, started.stdout + started.stderr
    job = started.stdout.split(":")[0].strip()
    for _ in range(240):
        if list(out.glob("candidates/*.parquet")):
            break
        time.sleep(0.25)
    stopped = ray_job(site, "stop", job)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    done = len(PairStore(str(out)).ledger().clip_ids)
    assert 0 < done < NUM_CLIPS
    assert "Terminated. What was committed stays" in ray_job(site, "logs", job).stdout
    again = submit(site, "generate", *generate_words(site.folder, out))
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{done} done, {NUM_CLIPS - done} to do" in again.stdout.replace("\n", " ")
    rows = PairStore(str(out)).read("candidates", ["clip_id", "pair_id"]).to_pylist()
    assert len({row["clip_id"] for row in rows}) == NUM_CLIPS
    assert len({row["pair_id"] for row in rows}) == len(rows)
