"""What an output folder holds, counted from its shards."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from videopasta.pairs.store import PairStore


@dataclass(frozen=True)
class Statistics:
    """Counts over all runs in the folder."""

    num_clips: int
    """Clips with candidates."""
    num_candidates: int
    num_pairs: int
    candidates_by_mode: dict[str, int]
    pairs_by_mode: dict[str, int]
    candidates_by_adversary: dict[str, int]
    """By "mode/adversary"."""
    pairs_by_adversary: dict[str, int]
    drop_reasons: dict[str, int]
    num_quarantined: int
    quarantine_reasons: dict[str, int]


def read_statistics(store: PairStore) -> Statistics:
    """Count the committed rows."""
    columns = ["clip_id", "failure_mode", "adversary", "accepted", "drop_reason"]
    rows = store.read("candidates", columns).to_pylist()
    pairs = [row for row in rows if row["accepted"]]
    quarantine = store.read("quarantine", ["reason"]).to_pylist()
    return Statistics(
        num_clips=len({row["clip_id"] for row in rows}),
        num_candidates=len(rows),
        num_pairs=len(pairs),
        candidates_by_mode=_count(row["failure_mode"] for row in rows),
        pairs_by_mode=_count(row["failure_mode"] for row in pairs),
        candidates_by_adversary=_count(f"{row['failure_mode']}/{row['adversary']}" for row in rows),
        pairs_by_adversary=_count(f"{row['failure_mode']}/{row['adversary']}" for row in pairs),
        drop_reasons=_count(row["drop_reason"] for row in rows if not row["accepted"]),
        num_quarantined=len(quarantine),
        quarantine_reasons=_count(row["reason"] for row in quarantine),
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
