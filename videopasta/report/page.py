"""A folder of pairs as report.json and report.html: one page that needs nothing beside it."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videopasta.config import DecodeConfig
from videopasta.errors import UserError
from videopasta.pages import templates
from videopasta.pairs.reviews import read_reviews
from videopasta.pairs.store import PairStore
from videopasta.pictures import FrameLoader, data_uri, figure_uri, filmstrip
from videopasta.report.facts import COLUMNS, Effort, Facts, effort_of
from videopasta.review.agreement import Agreement, agreement
from videopasta.review.differences import Part, differing_words
from videopasta.video import VideoError

TEMPLATES = Path(__file__).parent / "templates"
NUM_FRAMES = 8
"""Of a filmstrip."""
FRAME_HEIGHT = 84
"""Pixels."""


@dataclass(frozen=True)
class Sample:
    """One candidate on the page."""

    row: Mapping[str, Any]
    chosen: Sequence[Part]
    rejected: Sequence[Part]
    filmstrips: Mapping[str, str]
    """Data URIs by `chosen` and `rejected`; empty where the video is not to be had."""
    why_none: str


@dataclass(frozen=True)
class Report:
    """Everything that page and card are made of."""

    uri: str
    facts: Facts
    effort: Effort
    quarantine: Mapping[str, int]
    """Clips by reason."""
    versions: Mapping[str, str]
    """Of the last run's packages."""
    reviewed: Agreement
    """Of the judge and the people who looked."""
    num_reviews: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return self.facts.to_dict() | {
            "quarantine": dict(self.quarantine), "versions": dict(self.versions), "effort": vars(self.effort),
            "reviews": {"num_pairs": self.num_reviews, "with_judge": vars(self.reviewed)},
        }  # fmt: skip


def read_report(folder: str) -> Report:
    """Count a folder, shard by shard.

    Raises:
        UserError: it is no output folder, or holds no candidates.
    """
    store = PairStore(folder)
    run = store.require_run()
    facts, reviews = Facts(), read_reviews(folder)
    opinions: list[tuple[bool, bool]] = []
    for _, table in store.read_shards("candidates", COLUMNS):
        for row in table.to_pylist():
            facts.add(row)
            review = reviews.get(row["pair_id"])
            # A pair that came of a swap or an edit was made by a person: no judge has said anything of it.
            if review is not None and review.from_pair_id in (None, row["pair_id"]) and row["verdict"]:
                opinions.append((row["accepted"], review.decision == "accept"))
    if not facts.num_candidates:
        raise UserError(f"{folder}: no candidates yet; run `videopasta generate` first")
    quarantine: dict[str, int] = {}
    for reason in store.read("quarantine", ["reason"])["reason"].to_pylist():
        quarantine[reason] = quarantine.get(reason, 0) + 1
    versions: dict[str, str] = next((one["versions"] for one in reversed(run["runs"]) if "versions" in one), {})
    return Report(
        folder, facts, effort_of(run["runs"]), dict(sorted(quarantine.items(), key=lambda one: -one[1])), versions,
        agreement(opinions), len(reviews),
    )  # fmt: skip


def write_page(report: Report, out: Path, decode: DecodeConfig, *, samples: int, seed: int = 0) -> None:
    """Write report.json and report.html.

    Args:
        report: from `read_report`.
        out: folder that gets them.
        decode: what may be opened to show frames, and within which limits.
        samples: pairs of each failure mode that are shown, and dropped candidates in all.
        seed: of their choice.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
    pairs, dropped = _samples(report.uri, decode, samples, seed)
    page = templates(TEMPLATES).get_template("report.html.j2").render(
        report=report, facts=report.facts, effort=report.effort, lengths=figure_uri(_draw_lengths(report.facts)),
        confidences=figure_uri(_draw_confidences(report.facts)) if report.facts.confidences else None, pairs=pairs,
        dropped=dropped, columns=("chosen", "rejected"),
    )  # fmt: skip
    (out / "report.html").write_text(page.strip() + "\n")


def _samples(folder: str, decode: DecodeConfig, count: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Some pairs of each failure mode, and some dropped candidates: drawn, so that nobody has chosen them."""
    store, rng = PairStore(folder), random.Random(seed)
    columns = ["pair_id", "failure_mode", "accepted"]
    by_kind: dict[str, list[str]] = {}
    for row in store.read("candidates", columns).to_pylist():
        by_kind.setdefault(row["failure_mode"] if row["accepted"] else "", []).append(row["pair_id"])
    drawn = {kind: rng.sample(ids, min(count, len(ids))) for kind, ids in sorted(by_kind.items())}
    wanted = {pair_id for ids in drawn.values() for pair_id in ids}
    rows = {
        row["pair_id"]: row
        for _, table in store.read_shards("candidates")
        for row in table.to_pylist()
        if row["pair_id"] in wanted
    }
    loader = FrameLoader(decode)
    try:
        made = {kind: [_sample(rows[pair_id], loader) for pair_id in ids] for kind, ids in drawn.items()}
    finally:
        loader.close()
    dropped = made.pop("", [])
    return [one for samples in made.values() for one in samples], dropped


def _sample(row: Mapping[str, Any], loader: FrameLoader) -> Sample:
    chosen, rejected = differing_words(row["chosen"], row["rejected"])
    plans = {side: plan for side in ("chosen", "rejected") if (plan := row[f"{side}_frame_plan"])}
    try:
        clip = loader.load(row, plans)
    except (VideoError, RuntimeError) as error:
        return Sample(row, chosen, rejected, {}, str(error))
    strips = {
        side: data_uri("image/jpeg", filmstrip(clip.frames[plan.key], num_frames=NUM_FRAMES, height=FRAME_HEIGHT))
        for side, plan in clip.plans.items()
    }
    return Sample(row, chosen, rejected, strips, "")


def _draw_lengths(facts: Facts) -> Any:
    """Words of both answers: a judge, and a training, must not be able to tell them by their lengths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    longest = max((length for counts in facts.words.values() for length in counts), default=1)
    for side, colour in (("chosen", "#1a7f37"), ("rejected", "#cf222e")):
        counts = facts.words[side]
        lengths = range(longest + 2)
        axes.step(lengths, [counts[length] for length in lengths], where="mid", color=colour, label=side)
    axes.set_xlabel("words")
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)
    return _plain_axes(figure)


def _draw_confidences(facts: Facts) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.bar([(n + 0.5) / 10 for n in range(10)], [facts.confidences[n] for n in range(10)], 0.09, color="#1f5fbf")
    axes.set_xlabel("confidence of the verdict")
    axes.set_ylabel("candidates")
    return _plain_axes(figure)


def _plain_axes(figure: Any) -> Any:
    for axes in figure.axes:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure
