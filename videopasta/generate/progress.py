"""A finished run as tables, for people."""

from rich.console import RenderableType
from rich.table import Table

from videopasta.generate.summary import RunSummary


def summary_tables(summary: RunSummary) -> list[RenderableType]:
    """A finished run as tables: acceptance, reasons, tokens, seconds."""
    accepted = Table(title="pairs of candidates", title_justify="left")
    for name in ("failure mode / adversary", "candidates", "pairs", "accepted"):
        accepted.add_column(name, justify="left" if name.startswith("failure") else "right")
    for names, pairs in (
        (summary.candidates_by_mode, summary.pairs_by_mode),
        (summary.candidates_by_adversary, summary.pairs_by_adversary),
    ):
        for name, count in sorted(names.items()):
            accepted.add_row(name, str(count), str(pairs[name]), f"{pairs[name] / count:.0%}")
        accepted.add_section()

    reasons = Table("reason", "count", title="dropped candidates and quarantined clips", title_justify="left")
    for name, count in summary.drop_reasons.most_common():
        reasons.add_row(name, str(count))
    reasons.add_section()
    for name, count in summary.quarantine_reasons.most_common():
        reasons.add_row(f"quarantine: {name}", str(count))

    work = Table(title="work", title_justify="left")
    for name in ("stage", "requests", "prompt tokens", "cached", "answer tokens", "clip seconds"):
        work.add_column(name, justify="left" if name == "stage" else "right")
    for stage, seconds in summary.seconds.items():
        tokens = summary.tokens.get(stage)
        cells = [""] * 4
        if tokens:
            rate = tokens["cached"] / tokens["prompt"] if tokens["prompt"] else 0.0
            cells = [str(tokens["requests"]), str(tokens["prompt"]), f"{rate:.0%}", str(tokens["completion"])]
        work.add_row(stage, *cells, f"{seconds:.1f}")
    footer = (
        f"{summary.num_clips} clips, {summary.num_pairs} pairs, {summary.num_quarantined} quarantined "
        f"in {summary.wall_s:.0f} s; {summary.cache_hit_rate:.0%} of prompt tokens from the cache"
    )
    return [accepted, reasons, work, footer]
