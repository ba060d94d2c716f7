"""Boards, rules and their files, without a Prometheus that runs; `test_dashboards.py` has one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from videopasta.cluster import dashboards, usage
from videopasta.cluster.alerts import ALERTS, RECORDS, to_prometheus
from videopasta.cluster.boards import BOARDS, to_grafana
from videopasta.dpo import trackers
from videopasta.engine import host
from videopasta.errors import UserError
from videopasta.generate import metrics

DECLARED = (*metrics.METRICS, *host.METRICS, *trackers.METRICS, *usage.METRICS)
EXPORTED = {name for metric in DECLARED for name in metric.exported}
OF_A_RUN = re.compile(r"(ray_videopasta_\w+)(?:\{([^}]*)\})?")


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Debian's."""
    command = shutil.which("promtool")
    assert command, "promtool is missing: apt-get install -y prometheus"
    return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False)


def expressions() -> list[tuple[str, str]]:
    """Of every panel, with its title."""
    return [(panel.title, query.expr) for board in BOARDS for panel in board.panels for query in panel.queries]


def test_committed_files_are_what_the_code_makes():
    """If not: `videopasta dashboards write dashboards`."""
    written = {path: (REPOSITORY / "dashboards" / path).read_text() for path in dashboards.files()}
    assert written == dashboards.files()
    assert {path.name for path in (REPOSITORY / "dashboards/grafana").iterdir()} == {
        f"{board.uid}.json" for board in BOARDS
    }


def test_every_metric_of_ours_on_a_board_is_declared():
    """And every declared one is on a board or in a rule: what nobody looks at is not measured."""
    rules = [rule["expr"] for rule in to_prometheus()["groups"][0]["rules"]]
    used = {name for _, expr in expressions() for name, _ in OF_A_RUN.findall(expr)}
    assert used <= EXPORTED
    used |= {name for expr in rules for name, _ in OF_A_RUN.findall(expr)}
    unused = [metric.name for metric in DECLARED if not used & set(metric.exported)]
    assert unused == []


def test_every_metric_of_ours_is_asked_for_one_run():
    """No panel mixes runs."""
    for title, expr in expressions():
        assert all('run="$run"' in labels for _, labels in OF_A_RUN.findall(expr)), title


def test_every_panel_says_what_it_shows():
    """A title of its own on its board, a unit, and a sentence."""
    for board in BOARDS:
        titles = [panel.title for panel in board.panels if panel.kind != "stat"]
        assert len(set(titles)) == len(titles)
        for panel in board.panels:
            assert panel.unit
            assert panel.text.endswith(".")
            assert "\n" not in panel.text


def test_panels_do_not_overlap():
    """On a grid of 24 columns."""
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in to_grafana(board)["panels"]:
            x, y, w, h = (panel["gridPos"][key] for key in "xywh")
            cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
            assert x + w <= 24
            assert not cells & taken, panel["title"]
            taken |= cells


def test_promtool_accepts_configuration_and_rules(tmp_path: Path):
    """Strictly: also what would only be warned of."""
    dashboards.write(tmp_path)
    text = (tmp_path / "prometheus.yml").read_text()
    discovery = tmp_path / "discovery.json"
    discovery.write_text("[]")
    (tmp_path / "prometheus.yml").write_text(text.replace(dashboards.DISCOVERY, str(discovery)))
    done = promtool("check", "config", "--lint-fatal", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(ALERTS) + len(RECORDS)} rules found" in done.stdout


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """One series of promtool's tests; a value a minute."""
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


G, T = "ray_videopasta_generate", "ray_videopasta_train"
RUN = {"run": "r"}
CASES: dict[str, tuple[list[dict[str, str]], str, list[dict[str, str]]]] = {
    # alert: series in which it fires, when, and series in which it does not
    "VideopastaPipelineStalled": (
        [series(f"{G}_clips_left", "9 8 7x40", **RUN)], "35m",
        [series(f"{G}_clips_left", "90-1x40", **RUN), series(f"{G}_clips_left", "1 0x39", run="ended")],
    ),
    "VideopastaRunVanished": (
        [series(f"{G}_run_active", "1x5 stale", **RUN)], "15m",
        [series(f"{G}_run_active", "1x5 0 stale", **RUN), series(f"{T}_run_active", "1x40", run="works")],
    ),
    "VideopastaAcceptanceCollapse": (
        [series(f"{G}_candidates_total", "0+20x40", **RUN), series(f"{G}_pairs_total", "0+9x10 90x30", **RUN)], "35m",
        [series(f"{G}_candidates_total", "0+20x40", **RUN), series(f"{G}_pairs_total", "0+9x40", **RUN),
         series(f"{G}_candidates_total", "50x40", run="small")],
    ),
    "VideopastaQuarantineSurge": (
        [series(f"{G}_clips_quarantined_total", "6x20", **RUN, stage="decode", reason="corrupt")], "8m",
        [series(f"{G}_clips_quarantined_total", "6x20", **RUN, stage="commit", reason="duplicate"),
         series(f"{G}_clips_quarantined_total", "6x20", run="large", stage="decode", reason="corrupt"),
         series(f"{G}_clips_done_total", "90x20", run="large")],
    ),
    "VideopastaEnginesEnd": (
        [series("ray_videopasta_engine_starts_total", "1x20", **RUN, roles="query", again="true", WorkerId=worker)
         for worker in "abc"], "5m",
        [series("ray_videopasta_engine_starts_total", "1x20", **RUN, roles="query", again="false", WorkerId=worker)
         for worker in "abc"],
    ),
    "VideopastaRewardCollapse": (
        [series(f"{T}_reward_accuracy", "0.7x10 0.3x40", **RUN, failure_mode="all"),
         series(f"{T}_epoch", "0+0.1x50", **RUN)], "45m",
        [series(f"{T}_reward_accuracy", "0.7x50", **RUN, failure_mode="all"), series(f"{T}_epoch", "0+0.1x50", **RUN),
         series(f"{T}_reward_accuracy", "0.3x50", **RUN, failure_mode="spatial")],
    ),
    "VideopastaDiskNearlyFull": (
        [series("ray_node_disk_utilization_percentage", "95x20", instance="n")], "10m",
        [series("ray_node_disk_utilization_percentage", "80x20", instance="n")],
    ),
    "VideopastaGpusIdle": (
        [series("ray_node_gpus_utilization", "3x40", GpuIndex="0"), series(f"{G}_run_active", "1x40", **RUN)], "30m",
        [series("ray_node_gpus_utilization", "3x40", GpuIndex="0"), series(f"{G}_run_active", "0x40", **RUN)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [alert.name for alert in ALERTS])
def test_alert_fires_when_it_should(name: str, tmp_path: Path):
    """By promtool's own unit tests: once in the series made for it, never in the others."""
    firing, at, quiet = CASES[name]
    (tmp_path / "alerts.yml").write_text(dashboards.files()["alerts.yml"])
    for expected, given in ((1, firing), (0, quiet)):
        asked = f'sum(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
        test = {
            "interval": "1m", "input_series": given,
            "promql_expr_test": [
                {"expr": asked, "eval_time": at, "exp_samples": [{"labels": "{}", "value": expected}]}
            ],
        }  # fmt: skip
        (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": [test]}))
        done = promtool("test", "rules", tmp_path / "test.yml")
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_stands_in_the_docs():
    """In the table of docs/dashboards.md; and every metric by name."""
    text = (REPOSITORY / "docs/dashboards.md").read_text()
    assert [alert.name for alert in ALERTS if f"`{alert.name}`" not in text] == []
    assert [metric.name for metric in DECLARED if f"`{metric.name}`" not in text] == []


def make_session(folder: Path) -> Path:
    """A session as Ray's dashboard leaves it."""
    (folder / "metrics/grafana/dashboards").mkdir(parents=True)
    (folder / "metrics/grafana/dashboards/default_grafana_dashboard.json").write_text("{}")
    (folder / "metrics/prometheus").mkdir()
    (folder / "metrics/prometheus/prometheus.yml").write_text(
        "scrape_configs:\n- job_name: 'ray'\n  file_sd_configs:\n  - files:\n    - 'there.json'\n"
    )
    return folder


def test_a_session_gets_boards_and_rules_beside_its_own(tmp_path: Path):
    """Twice, to the same end; what Ray wrote stays."""
    session = make_session(tmp_path)
    for _ in range(2):
        metrics_folder = dashboards.install(session)
        boards = {path.name for path in (metrics_folder / "grafana/dashboards").iterdir()}
        assert boards == {"default_grafana_dashboard.json", *(f"{board.uid}.json" for board in BOARDS)}
        settings = yaml.safe_load((metrics_folder / "prometheus/prometheus.yml").read_text())
        assert settings["rule_files"] == ["videopasta_alerts.yml"]
        assert settings["scrape_configs"][0]["file_sd_configs"][0]["files"] == ["there.json"]
    assert promtool("check", "rules", metrics_folder / "prometheus/videopasta_alerts.yml").returncode == 0


def test_a_folder_that_is_no_session_is_told(tmp_path: Path):
    """With where to look."""
    with pytest.raises(UserError, match="session_latest"):
        dashboards.install(tmp_path)


def test_boards_are_valid_json_models():
    """With what Grafana needs to provision them: an id, a version of the schema, a data source in every query."""
    for board in BOARDS:
        made = json.loads(json.dumps(to_grafana(board)))
        assert made["uid"] == board.uid
        assert made["schemaVersion"] >= 39
        assert {variable["name"] for variable in made["templating"]["list"]} == {"datasource", "run"}
        ids = [panel["id"] for panel in made["panels"]]
        assert len(set(ids)) == len(ids)
