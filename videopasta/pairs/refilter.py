"""Another set of pairs from candidates that are there: no model is asked. Around `choice`.

In: a folder of pairs, with people's `reviews/` where there are some. Out: a new folder like it, with all candidates and
why each is no pair, the decisions as they were applied, and a run.json that names where it comes from.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from videopasta import storage
from videopasta.config import FAILURE_MODES, RefilterConfig, fingerprint
from videopasta.config.generate import GuardsConfig, JudgeConfig
from videopasta.errors import UserError
from videopasta.pairs.choice import choose, drop_reason, entry, reviewed
from videopasta.pairs.identity import pair_id
from videopasta.pairs.reviews import FOLDER, REVIEWS, Review, applied, read_reviews
from videopasta.pairs.schema import CANDIDATES
from videopasta.pairs.store import PairStore
from videopasta.shards import ShardFolder
from videopasta.video import FramePlan


@dataclass
class RefilterReport:
    """What was kept, and why the rest was not."""

    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    num_candidates: int = 0
    num_before: int = 0
    """Pairs of the source."""
    num_pairs: int = 0
    by_mode: dict[str, dict[str, int]] = field(default_factory=dict)
    """Failure mode to `candidates`, pairs `before` and `now`."""
    drop_reasons: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    """Of people, as they were applied; `unknown_pair`: about no candidate of the source."""
    finished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}


def refilter(source: str, out: str, config: RefilterConfig) -> RefilterReport:
    """Choose the pairs of `source` anew, into `out`, a new folder.

    Raises:
        UserError: `source` is no folder of pairs, `out` is not new, a review cannot be read, or no pair is left.
    """
    old, new = PairStore(source), PairStore(out)
    run = old.require_run()
    depends_on = run["fingerprint"] | {
        "refilter": fingerprint(config),
        "source": {"uri": storage.absolute(source), "fingerprint": run["fingerprint"]},
    }
    if new.check(depends_on):
        raise UserError(f"--out {out}: holds a filtered set already; give a new folder")
    now = datetime.now(UTC)
    report = RefilterReport(f"{now:%Y%m%dT%H%M%S}-refilter", now.isoformat(timespec="seconds"))
    reviews = read_reviews(source)
    judge, guards = _thresholds(run["fingerprint"], config)

    def judged() -> Iterator[dict[str, Any]]:
        for _, table in old.read_shards("candidates"):
            for row in table.to_pylist():
                yield _judged(row, reviews.get(row["pair_id"]), judge, guards)

    entries, known = [], set()
    for number, row in enumerate(judged()):
        known.add(row["from_pair_id"] or row["pair_id"])
        if row["accepted"]:
            entries.append(entry(number, row, by_person=row["from_pair_id"] is not None))
    left_out = choose(entries, config)
    if len(left_out) == len(entries):
        raise UserError(f"{source}: no pair is left of {len(known)} candidates; lower the thresholds")
    report.decisions["unknown_pair"] = len(reviews.keys() - known)
    report.decisions.update(reviews[name].decision for name in reviews.keys() & known)
    report.decisions = +report.decisions
    with new.locked():
        new.open(depends_on)
        rows = enumerate(judged())
        for name, table in old.read_shards("candidates"):
            made = []
            for number, row in islice(rows, len(table)):
                dropped = {"accepted": False, "drop_reason": left_out[number]} if number in left_out else {}
                made.append(row | dropped)
            new.write("candidates", name, pa.Table.from_pylist(made, schema=CANDIDATES))
            _write_reviews(out, name, made, reviews)
            _count(report, table, made)
        for name, table in old.read_shards("quarantine"):
            new.write("quarantine", name, table)
        report.finished = True
        for summary in [*run["runs"], report.to_dict()]:
            new.record_run(summary)
    return report


def _thresholds(made_with: dict[str, Any], config: RefilterConfig) -> tuple[JudgeConfig, GuardsConfig]:
    """Those of the generation, but for what is given."""
    before = made_with.get("config", {})
    judge = JudgeConfig.model_validate(before.get("judge", {}))
    given = {"min_confidence": config.min_confidence, "min_agreement": config.min_agreement}
    judge = judge.model_copy(update={name: value for name, value in given.items() if value is not None})
    return judge, config.guards or GuardsConfig.model_validate(before.get("guards", {}))


def _judged(row: dict[str, Any], review: Review | None, judge: JudgeConfig, guards: GuardsConfig) -> dict[str, Any]:
    """The row as it is decided by itself; `from_pair_id` is what a person's decision was about."""
    changes = reviewed(row, review)
    if changes is None:
        reason = drop_reason(row, judge, guards)
        return row | {"accepted": reason is None, "drop_reason": reason, "from_pair_id": None}
    changed = row | changes | {"from_pair_id": row["pair_id"]}
    if "chosen" in changes:
        plans = [row[name] for name in ("chosen_frame_plan", "rejected_frame_plan")]
        keys = [FramePlan.from_dict(plan).key if plan else "" for plan in plans]
        changed["pair_id"] = pair_id(
            clip_id=row["clip_id"], failure_mode=row["failure_mode"], prompt=row["prompt"], chosen=changed["chosen"],
            rejected=changed["rejected"], adversary=row["adversary"], chosen_plan=keys[0], rejected_plan=keys[1],
        )  # fmt: skip
    return changed


def _write_reviews(out: str, name: str, rows: list[dict[str, Any]], reviews: dict[str, Review]) -> None:
    decided = [applied(reviews[row["from_pair_id"]], row["pair_id"]) for row in rows if row["from_pair_id"]]
    if decided:
        table = pa.Table.from_pylist(decided, schema=REVIEWS)
        ShardFolder(storage.join(out, FOLDER), REVIEWS).write(name, table)


def _count(report: RefilterReport, before: pa.Table, rows: list[dict[str, Any]]) -> None:
    accepted = before["accepted"].to_pylist()
    report.num_candidates += len(rows)
    report.num_before += sum(accepted)
    report.num_pairs += sum(row["accepted"] for row in rows)
    report.drop_reasons.update(row["drop_reason"] for row in rows if not row["accepted"])
    for mode in FAILURE_MODES:
        counts = report.by_mode.setdefault(mode, {"candidates": 0, "before": 0, "now": 0})
        of_mode = [
            (was, row["accepted"]) for was, row in zip(accepted, rows, strict=True) if row["failure_mode"] == mode
        ]
        counts["candidates"] += len(of_mode)
        counts["before"] += sum(was for was, _ in of_mode)
        counts["now"] += sum(is_now for _, is_now in of_mode)
