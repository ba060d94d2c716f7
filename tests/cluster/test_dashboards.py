"""The proof of the boards: a real run and a real training on a real Ray, scraped by a real Prometheus.

Every expression of every panel must answer, the counts must be those of run.json, and a run of which many clips fail
must raise its alert. `pytest -m slow tests/cluster --boards docs/images` draws the boards as well.
"""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dashboards.render import panels_of, render, series_of
from tests.cluster.watched import INSTANCE, MARKET, REPORT_MS, until, value_of, watched_cluster
from tests.conftest import REPOSITORY
from tests.dpo.trainings import make_config, make_rows, write_rows
from videopasta.cluster.boards import BOARDS, COST, TRAINING, to_grafana
from videopasta.cluster.instances import load_instances
from videopasta.cluster.usage import prices_of
from videopasta.config import dump_yaml
from videopasta.config.train import WorkersConfig
from videopasta.tiny.truth import write_clips
from videopasta.tiny.world import scenes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
WINDOW = "20s"
"""Over which rates are taken: four of Ray's reports."""
NUM_CLIPS, NUM_MISSING = 48, 24


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, ray_folder):
    with watched_cluster(tmp_path_factory.mktemp("watched"), ray_folder) as started:
        yield started


@pytest.fixture(scope="module")
def generation(cluster, tmp_path_factory) -> SimpleNamespace:
    """A run on clips of the embedded world, and on some that are not there."""
    folder = tmp_path_factory.mktemp("generation")
    write_clips((scene for scene, _ in zip(scenes("validation", 0), range(NUM_CLIPS), strict=False)), folder / "videos")
    videos = [*(str(path) for path in sorted((folder / "videos").glob("*.mp4"))),
              *(str(folder / f"missing_{n}.mp4") for n in range(NUM_MISSING))]  # fmt: skip
    (folder / "videos.txt").write_text("\n".join(videos))
    started = time.time()
    process = cluster.start(
        "generate", "--videos", folder / "videos.txt", "--out", folder / "out",
        "--config", REPOSITORY / "videopasta/tiny/generate.yaml", "--set", "output.clips_per_shard=4",
    )  # fmt: skip
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    (summary,) = json.loads((folder / "out/run.json").read_text())["runs"]
    ended = time.time()
    time.sleep(2 * REPORT_MS / 1000)
    return SimpleNamespace(run=summary["run_id"], summary=summary, start=started, end=ended)


@pytest.fixture(scope="module")
def training(cluster, generation, tmp_path_factory) -> SimpleNamespace:
    """A training on pairs with true and false answers."""
    folder = tmp_path_factory.mktemp("training")
    write_rows(make_rows(folder / "videos", num_clips=10), folder / "pairs/part-0.parquet")
    workers = WorkersConfig(min_num=1, max_num=1, num_cpus=1)
    config = make_config(folder, epochs=80, every_steps=40, workers=workers)
    (folder / "train.yaml").write_text(dump_yaml(config))
    started = time.time()
    process = cluster.start(
        "train", "--pairs", folder / "pairs", "--out", folder / "out", "--config", folder / "train.yaml"
    )
    run_file = folder / "out/run.json"
    until(lambda: run_file.exists() and bool(json.loads(run_file.read_text()).get("runs")), 120, "the run's name")
    cluster.gpu_node.train_run = json.loads(run_file.read_text())["runs"][0]["run_id"]
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    ended = time.time()
    time.sleep(2 * REPORT_MS / 1000)
    return SimpleNamespace(run=cluster.gpu_node.train_run, start=started, end=ended)


@pytest.fixture(scope="module")
def seen(cluster, generation, training, request) -> dict[str, dict[str, object]]:
    """How each board is asked; drawn where `--boards` says."""
    asked = {
        board.uid: {
            "prometheus": cluster.prometheus, "window": WINDOW, "run": run.run, "start": run.start, "end": run.end + 8,
        }
        for board in BOARDS
        for run in [training if board is TRAINING else generation]
    }  # fmt: skip
    folder = request.config.getoption("--boards")
    if folder:
        for board in BOARDS:
            render(to_grafana(board), Path(folder) / f"{board.uid}.png", **asked[board.uid])
    return asked


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_expression_answers(board, seen):
    """With numbers, at some time of the run."""
    silent = []
    for panel in panels_of(to_grafana(board)):
        for target in panel["targets"]:
            if not series_of(panel=panel | {"targets": [target]}, **seen[board.uid]):
                silent.append(f"{panel['title']}: {target['expr']}")
    assert silent == []


def test_cost_of_a_training_answers_too(seen, training):
    """But for what a pair costs."""
    asked = seen[COST.uid] | {"run": training.run, "start": training.start, "end": training.end}
    silent = [panel["title"] for panel in panels_of(to_grafana(COST)) if not series_of(panel=panel, **asked)]
    assert silent == ["USD per 1000 pairs"]


def test_counts_are_those_of_the_run(cluster, generation):
    """Clips, candidates, pairs, reasons and tokens, to the last one."""

    def total(metric: str, more: str = "") -> float:
        expr = f'sum(ray_videopasta_generate_{metric}_total{{run="{generation.run}"{more}}})'
        return value_of(cluster.prometheus, expr)

    summary = generation.summary
    assert total("clips_done") == summary["num_clips"] == NUM_CLIPS
    assert total("clips_quarantined", ',reason="missing"') == NUM_MISSING
    assert total("candidates") == summary["num_candidates"]
    assert total("pairs") == summary["num_pairs"] > 0
    for mode, count in summary["pairs_by_mode"].items():
        assert total("pairs", f',failure_mode="{mode}"') == count
    for reason, count in summary["drop_reasons"].items():
        assert total("dropped", f',reason="{reason}"') == count
    for role, counts in summary["tokens"].items():
        assert total("requests", f',role="{role}"') == counts["requests"]
        for kind in ("prompt", "completion", "cached"):
            assert total("tokens", f',role="{role}",kind="{kind}"') == counts[kind]
    for stage, seconds in summary["seconds"].items():
        assert total("stage_seconds", f',stage="{stage}"') == pytest.approx(seconds)


def test_a_run_ends_with_zero(cluster, generation):
    """And is not taken for one that was killed."""
    active = f'ray_videopasta_generate_run_active{{run="{generation.run}"}}'
    assert value_of(cluster.prometheus, f"max_over_time({active}[30m])") == 1
    assert value_of(cluster.prometheus, f"last_over_time({active}[30m])") == 0
    left = f'last_over_time(ray_videopasta_generate_clips_left{{run="{generation.run}"}}[30m])'
    assert value_of(cluster.prometheus, left) == 0
    fired = f'count(count_over_time(ALERTS{{alertname="VideopastaRunVanished",run="{generation.run}"}}[30m]))'
    assert value_of(cluster.prometheus, f"{fired} or vector(0)") == 0


def test_cost_is_time_times_price(cluster, generation):
    """Of one node, from the run's begin to its end."""
    hours = value_of(cluster.prometheus, f'sum(ray_videopasta_cluster_node_hours_total{{run="{generation.run}"}})')
    assert 0.5 * generation.summary["wall_s"] / 3600 < hours <= (generation.end - generation.start) / 3600
    cost = value_of(cluster.prometheus, f'sum(ray_videopasta_cluster_cost_usd_total{{run="{generation.run}"}})')
    assert cost == pytest.approx(prices_of(load_instances())[INSTANCE, MARKET] * hours)
    gpu_hours = value_of(cluster.prometheus, f'sum(ray_videopasta_cluster_gpu_hours_total{{run="{generation.run}"}})')
    assert gpu_hours == pytest.approx(2 * hours)


def test_many_failing_clips_raise_the_alert(cluster, generation):
    """A third of the run's clips are missing files."""
    alert = f'ALERTS{{alertname="VideopastaQuarantineSurge",alertstate="firing",run="{generation.run}"}}'
    until(lambda: value_of(cluster.prometheus, f"max_over_time({alert}[30m])") == 1, 60, "the alert fires")


def test_a_killed_run_raises_the_alert(cluster, generation, training, tmp_path):
    """SIGKILL of a driver that has shown that it works."""
    shown = "count(count_over_time(ray_videopasta_generate_run_active[1h]))"
    before = value_of(cluster.prometheus, shown)
    (tmp_path / "videos.txt").write_text("\n".join(f"/nowhere/{n}.mp4" for n in range(3)))
    process = cluster.start(
        "generate", "--videos", tmp_path / "videos.txt", "--out", tmp_path / "out",
        "--config", REPOSITORY / "videopasta/tiny/generate.yaml",
    )  # fmt: skip
    until(lambda: value_of(cluster.prometheus, shown) > before, 120, "the run shows itself")
    process.kill()
    process.communicate()
    fired = 'max_over_time(ALERTS{alertname="VideopastaRunVanished",alertstate="firing"}[5m])'
    until(lambda: value_of(cluster.prometheus, fired) == 1, 120, "the alert fires")
