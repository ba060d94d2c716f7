"""The dataset card of a set of pairs: what the hub's YAML header asks for, and facts that were counted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import DatasetCardData

from videopasta.pages import templates
from videopasta.report.page import TEMPLATES, Report

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def make_card(
    report: Report,
    *,
    name: str | None = None,
    license_: str | None = None,
    source_license: str | None = None,
    data_files: Mapping[str, Sequence[str]] | None = None,
    num_left_out: int = 0,
) -> str:
    """Markdown with a YAML header.

    Args:
        report: from `read_report`.
        name: of the dataset; default: the folder's.
        license_: of the pairs, by the hub's name for it; None: the header says nothing of it, the text that nobody did.
        source_license: of the videos, in words.
        data_files: Parquet files of the dataset by split, as `load_dataset` shall find them.
        num_left_out: pairs that are not in them.
    """
    name = name or report.uri.rstrip("/").rpartition("/")[2]
    header = DatasetCardData(
        pretty_name=name,
        license=license_,
        language=["en"] if report.facts.num_imported < report.facts.num_candidates else None,
        task_categories=["video-text-to-text", "visual-question-answering"],
        tags=["dpo", "preference", "video", "videopasta"],
        size_categories=[_size(report.facts.num_pairs - num_left_out)],
        configs=[
            {"config_name": "default",
             "data_files": [{"split": split, "path": list(paths)} for split, paths in data_files.items()]}
        ] if data_files else None,
    )  # fmt: skip
    text = templates(TEMPLATES).get_template("card.md.j2").render(
        report=report, facts=report.facts, name=name, license=license_, source_license=source_license,
        num_left_out=num_left_out,
    )  # fmt: skip
    return f"---\n{header.to_yaml()}\n---\n\n{text.strip()}\n"


def write_card(
    report: Report,
    file: Path,
    *,
    name: str | None = None,
    license_: str | None = None,
    source_license: str | None = None,
) -> None:
    """See `make_card`."""
    file.write_text(make_card(report, name=name, license_=license_, source_license=source_license))


def _size(num_rows: int) -> str:
    return next((name for end, name in _SIZES if num_rows < end), "n>10M")
