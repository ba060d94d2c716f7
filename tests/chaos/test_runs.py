"""Runs that are broken at seeded moments, each compared with the unbroken one row by row."""

import os
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.chaos import training
from tests.chaos.__main__ import total, vllm_config
from tests.chaos.cluster import LocalCluster
from tests.chaos.runs import laboratory
from tests.test_ray_session import status_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_cluster_is_nobody_elses():
    """It listens on this machine alone, and asks for a token."""
    with tempfile.TemporaryDirectory(prefix="vp-", dir="/tmp") as folder, LocalCluster(Path(folder)) as cluster:
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        sockets = [one for process in family for one in process.net_connections("inet") if one.status == "LISTEN"]
        assert {one.laddr.ip.removeprefix("::ffff:") for one in sockets} == {"127.0.0.1"}
        assert status_of(f"http://{cluster._cluster.webui_url}/api/jobs/") == 401
        assert status_of(f"http://{cluster._cluster.webui_url}/api/jobs/", os.environ["RAY_AUTH_TOKEN"]) == 200


def test_twenty_broken_runs_lose_and_double_nothing():
    """Three faults each, of every kind; after the same command again: the pairs, the quarantine, no file too many."""
    with laboratory() as lab:
        outcomes = [lab.run(seed) for seed in range(20)]
    assert all(outcome.is_whole for outcome in outcomes), [one for one in outcomes if not one.is_whole]
    assert total(outcomes)["kills"] >= 40


def test_broken_runs_on_vllm_lose_and_double_nothing():
    """The same on vLLM itself, with small random models: what it says again is what it said."""
    with laboratory(config=vllm_config(), num_clips=12) as lab:
        outcomes = [lab.run(seed) for seed in range(2)]
    assert all(outcome.is_whole for outcome in outcomes), [one for one in outcomes if not one.is_whole]


@pytest.mark.parametrize("seed", range(len(training.VICTIMS)))
def test_a_killed_training_ends_with_the_same_weights(training_laboratory, seed):
    """A rank, the driver, and both while a checkpoint is written: losses and weights of the training nobody killed."""
    outcome = training_laboratory.run(seed)
    assert (outcome.same_losses, outcome.same_weights, outcome.leftovers) == (True, True, 0), outcome


@pytest.fixture(scope="module")
def training_laboratory():
    """One unbroken training, and a folder for the others."""
    with tempfile.TemporaryDirectory(prefix="vp-", dir="/tmp") as folder:
        yield training.Laboratory(Path(folder))
