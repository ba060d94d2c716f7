"""Boards, alert rules and configurations as files: in a folder, or in a Ray session beside Ray's own."""

import json
from pathlib import Path
from typing import Any

import yaml

from videopasta.cluster.alerts import to_prometheus
from videopasta.cluster.boards import BOARDS, to_grafana
from videopasta.errors import UserError

DISCOVERY = "/tmp/ray/prom_metrics_service_discovery.json"
"""Where a head writes the nodes' addresses, unless it has another --temp-dir."""
_BOARDS = {f"{board.uid}.json": json.dumps(to_grafana(board), indent=1) + "\n" for board in BOARDS}
_HEADER = "# Written by `videopasta dashboards write`.\n"


def _yaml(value: Any) -> str:
    return _HEADER + yaml.safe_dump(value, sort_keys=False, width=120)


def files() -> dict[str, str]:
    """What `write` writes, by path."""
    # Grafana fills in its own environment's variables.
    provider = {
        "name": "videopasta", "folder": "videopasta", "type": "file",
        "options": {"path": "${VIDEOPASTA_DASHBOARDS}/grafana"},
    }  # fmt: skip
    source = {
        "name": "Prometheus", "type": "prometheus", "access": "proxy", "isDefault": True,
        "url": "http://localhost:9090",
    }  # fmt: skip
    prometheus = {
        "global": {"scrape_interval": "10s", "evaluation_interval": "10s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "ray", "file_sd_configs": [{"files": [DISCOVERY]}]}],
    }
    return {f"grafana/{name}": text for name, text in _BOARDS.items()} | {
        "provisioning/dashboards/videopasta.yml": _yaml({"apiVersion": 1, "providers": [provider]}),
        "provisioning/datasources/prometheus.yml": _yaml({"apiVersion": 1, "datasources": [source]}),
        "prometheus.yml": _yaml(prometheus),
        "alerts.yml": _yaml(to_prometheus()),
    }


def write(folder: Path) -> None:
    """Write all files."""
    for path, text in files().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def install(session: Path) -> Path:
    """Put boards and rules into a Ray session's metrics folder; returns that.

    Grafana, started with the session's grafana.ini, finds the boards in Ray's folder; Prometheus, with the session's
    prometheus.yml, the rules.

    Raises:
        UserError: no session there, or its dashboard has written no configuration.
    """
    metrics = session / "metrics"
    boards, configuration = metrics / "grafana/dashboards", metrics / "prometheus/prometheus.yml"
    if not boards.is_dir() or not configuration.is_file():
        raise UserError(
            f"--ray-session {session}: no metrics/grafana and metrics/prometheus there; give the session's folder on "
            "the head (TEMP_DIR/session_latest), whose Ray was started with its dashboard"
        )
    for name, text in _BOARDS.items():
        (boards / name).write_text(text)
    rules = configuration.with_name("videopasta_alerts.yml")
    rules.write_text(_yaml(to_prometheus()))
    settings = yaml.safe_load(configuration.read_text())
    settings["rule_files"] = sorted({*(settings.get("rule_files") or ()), rules.name})
    configuration.write_text(_yaml(settings))
    return metrics
