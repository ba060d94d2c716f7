"""Alert rules for Prometheus: when somebody should look, and what to do then. Pure.

A counter's growth over a window is its value less its value then, not `increase`, which loses what a series begins
with: Ray sends every 10 s, so a small run's clips may all be in a first value.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Alert:
    """One rule."""

    name: str
    expr: str
    holds_for: str
    """How long it must hold, as Prometheus writes durations."""
    summary: str
    """With labels as Prometheus fills them in."""
    action: str
    """What to do."""


def grown(counter: str, only: str = "") -> str:
    """What a run's counter grew by in the last 15 minutes."""
    series = f"ray_videopasta_generate_{counter}_total{only}"
    now = f"sum by (run) ({series})"
    return f"{now} - (sum by (run) ({series} offset 15m) or 0 * {now})"


RECORDS = {
    "run:videopasta_candidates:grown15m": grown("candidates"),
    "run:videopasta_pairs:grown15m": grown("pairs"),
    "run:videopasta_clips_done:grown15m": grown("clips_done"),
    # Content that the store has under another name is nothing wrong.
    "run:videopasta_clips_failed:grown15m": grown("clips_quarantined", '{stage!="commit"}'),
}
_CANDIDATES, _PAIRS, _DONE, _FAILED = RECORDS
_LEFT = "ray_videopasta_generate_clips_left"
_ACTIVE = '{__name__=~"ray_videopasta_(generate|train)_run_active"}'

ALERTS = (
    Alert(
        "VideopastaPipelineStalled",
        f"changes({_LEFT}[5m]) == 0 and {_LEFT} > 0",
        "20m",
        "Run {{ $labels.run }}: no clip has come out for 20 minutes",
        "Look at the queues and the engines on the generation board: nothing at work means that the cluster has no "
        "room for a pool. Loading a model of hundreds of GB may take as long.",
    ),
    Alert(
        "VideopastaRunVanished",
        # A worker of a training that goes on under the same name ends with 0 for those that were lost, too.
        f"min by (run) (last_over_time({_ACTIVE}[30m])) == 1 unless max by (run) ({_ACTIVE})",
        "5m",
        "Run {{ $labels.run }} is gone and had not ended",
        "Its driver or its node was killed. Submit the same command again: it does what is missing.",
    ),
    Alert(
        "VideopastaAcceptanceCollapse",
        f"({_PAIRS} or 0 * {_CANDIDATES}) / {_CANDIDATES} < 0.05 and {_CANDIDATES} >= 100",
        "5m",
        "Run {{ $labels.run }}: {{ $value | humanizePercentage }} of the last candidates became pairs",
        "Stop the run, and read the drop reasons on the judge's board: GPU hours go into candidates that nobody wants.",
    ),
    Alert(
        "VideopastaQuarantineSurge",
        f"{_FAILED} / ({_FAILED} + ({_DONE} or 0 * {_FAILED})) > 0.3 and {_FAILED} >= 5",
        "5m",
        "Run {{ $labels.run }}: {{ $value | humanizePercentage }} of the last clips were quarantined",
        "The generation board names stage and reason. Mend the cause, then run with --retry-quarantined.",
    ),
    Alert(
        "VideopastaEnginesEnd",
        'count by (run, roles) (ray_videopasta_engine_starts_total{again="true"} unless '
        'ray_videopasta_engine_starts_total{again="true"} offset 30m) >= 3',
        "0m",
        "Run {{ $labels.run }}: engines for {{ $labels.roles }} were started again {{ $value }} times in 30 minutes",
        "Read the engine's log in Ray's folder. Often it is memory: lower clips_in_flight, or raise memory_gib.",
    ),
    Alert(
        "VideopastaRewardCollapse",
        'avg_over_time(ray_videopasta_train_reward_accuracy{failure_mode="all"}[10m]) < 0.5 and on (run) '
        "ray_videopasta_train_epoch > 0.1",
        "10m",
        "Training {{ $labels.run }}: the chosen answer wins in no more than {{ $value | humanizePercentage }} of pairs",
        "Stop it. Lower optimizer.lr, or look whether chosen and rejected are mixed up in the pairs.",
    ),
    Alert(
        "VideopastaDiskNearlyFull",
        "ray_node_disk_utilization_percentage > 90",
        "5m",
        "{{ $labels.instance }}: {{ $value | humanize }} % of the disk is full",
        "Remove old Ray sessions and checkpoints, lower vision_cache.max_gib, or take larger disks. A full disk stops "
        "the run; what is committed stays.",
    ),
    Alert(
        "VideopastaGpusIdle",
        f"avg(ray_node_gpus_utilization) < 10 and on () sum({_ACTIVE}) > 0",
        "20m",
        "GPUs are paid for and work {{ $value | humanize }} % of the time",
        "Clips waiting before engines: raise clips_in_flight. None waiting: decoding is too slow, or the cluster too "
        "large.",
    ),
)


def to_prometheus() -> dict[str, Any]:
    """The rules as a rule file."""
    return {
        "groups": [
            {
                "name": "videopasta",
                "rules": [{"record": name, "expr": expr} for name, expr in RECORDS.items()]
                + [
                    {
                        "alert": one.name,
                        "expr": one.expr,
                        "for": one.holds_for,
                        "labels": {"severity": "warning"},
                        "annotations": {"summary": one.summary, "description": one.action},
                    }
                    for one in ALERTS
                ],
            }
        ]
    }
