"""An output folder as tables and samples, for people."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table

from videopasta.pairs.statistics import Statistics
from videopasta.pairs.store import PairStore


def statistics_tables(statistics: Statistics) -> list[RenderableType]:
    """Counts per mode and adversary, drop reasons, quarantine reasons."""
    counts = Table(title="pairs of candidates", title_justify="left")
    for name in ("failure mode / adversary", "candidates", "pairs"):
        counts.add_column(name, justify="left" if name.startswith("failure") else "right")
    for candidates, pairs in (
        (statistics.candidates_by_mode, statistics.pairs_by_mode),
        (statistics.candidates_by_adversary, statistics.pairs_by_adversary),
    ):
        for name, count in candidates.items():
            counts.add_row(name, str(count), str(pairs.get(name, 0)))
        counts.add_section()
    counts.add_row("all", str(statistics.num_candidates), str(statistics.num_pairs))
    reasons = Table("reason", "count", title="dropped candidates and quarantined clips", title_justify="left")
    for name, count in statistics.drop_reasons.items():
        reasons.add_row(name, str(count))
    reasons.add_section()
    for name, count in statistics.quarantine_reasons.items():
        reasons.add_row(f"quarantine: {name}", str(count))
    return [counts, reasons]


def sample_rows(store: PairStore, per_mode: int) -> list[dict[str, Any]]:
    """The first `per_mode` pairs of each failure mode."""
    columns = [
        "failure_mode",
        "adversary",
        "video_uri",
        "prompt",
        "chosen",
        "rejected",
        "adversarial_query",
        "verdict",
    ]
    taken: dict[str, list[dict[str, Any]]] = {}
    for row in store.read("pairs", columns).to_pylist():
        rows = taken.setdefault(row["failure_mode"], [])
        if len(rows) < per_mode:
            rows.append(row)
    return [row for mode in sorted(taken) for row in taken[mode]]
