import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.review.folders import make_folder
from videopasta.config import DecodeConfig, SourcesConfig
from videopasta.errors import UserError
from videopasta.report.page import read_report, write_page
from videopasta.review.decisions import Decisions


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return make_folder(tmp_path_factory.mktemp("report"), num_clips=3)


class Sources(HTMLParser):
    """What a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_beside_it(folder: str, tmp_path: Path):
    """Its pictures stand in it: two plots, and two filmstrips a sample."""
    write_page(read_report(folder), tmp_path, DecodeConfig(), samples=2)
    sources = Sources()
    sources.feed((tmp_path / "report.html").read_text())
    assert all(source.startswith("data:image/") for source in sources.found)
    assert len([source for source in sources.found if source.startswith("data:image/jpeg")]) == 2 * (3 * 2 + 2)


def test_page_and_json_have_the_same_counts(folder: str, tmp_path: Path):
    """9 pairs of 12 candidates of 3 clips."""
    write_page(read_report(folder), tmp_path, DecodeConfig(), samples=0)
    counts = json.loads((tmp_path / "report.json").read_text())
    assert counts["funnel"] == {"candidates": 12, "judged": 9, "pairs": 9}
    assert (counts["num_videos"], counts["drop_reasons"]) == (3, {"length_ratio": 3})
    assert counts["plans"]["chosen"] == {"16 frames of 448×224": 9}
    assert re.search(r"<b>9</b>of 12 candidates", (tmp_path / "report.html").read_text())


def test_people_are_held_against_the_judge(folder: str, tmp_path: Path):
    """Once they have decided."""
    assert read_report(folder).num_reviews == 0
    decisions = Decisions(tmp_path / "decisions.sqlite3")
    from videopasta.pairs import PairStore

    pairs = PairStore(folder).read("pairs", ["pair_id"])["pair_id"].to_pylist()
    for pair_id, action in zip(pairs, ("accept", "accept", "reject", "swap"), strict=False):
        decisions.decide(pair_id, "ann", action)  # type: ignore[arg-type]
    decisions.export(folder)
    decisions.close()
    report = read_report(folder)
    assert (report.num_reviews, report.reviewed.count, report.reviewed.share) == (4, 4, 0.5)
    write_page(report, tmp_path, DecodeConfig(), samples=0)
    assert "the same in 50.0 %" in (tmp_path / "report.html").read_text()


def test_samples_are_the_same_for_the_same_seed(folder: str, tmp_path: Path):
    """And of equal number for each failure mode; a page of more than there are shows all."""
    pages = []
    for name, samples in (("a", 1), ("b", 1), ("c", 50)):
        write_page(read_report(folder), tmp_path / name, DecodeConfig(), samples=samples)
        pages.append((tmp_path / name / "report.html").read_text())
    assert pages[0] == pages[1]
    assert [page.count("<article>") for page in pages] == [4, 4, 12]


def test_a_video_that_is_gone_is_told(tmp_path: Path):
    """In the place of its frames."""
    folder = make_folder(tmp_path, num_clips=1)
    (tmp_path / "0.mp4").unlink()
    write_page(read_report(folder), tmp_path / "page", DecodeConfig(), samples=1)
    assert (tmp_path / "page/report.html").read_text().count("No frames: missing") == 4


def test_a_video_elsewhere_is_not_opened(folder: str, tmp_path: Path):
    """Rows may be a stranger's, and name any file."""
    decode = DecodeConfig(sources=SourcesConfig(roots=(str(tmp_path),)))
    write_page(read_report(folder), tmp_path / "page", decode, samples=1)
    assert (tmp_path / "page/report.html").read_text().count("No frames: not_allowed") == 4


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_candidates_is_told(made: bool, tmp_path: Path):
    """And what to do."""
    if made:
        make_folder(tmp_path, num_clips=0)
    with pytest.raises(UserError, match="no candidates yet" if made else "no run.json"):
        read_report(str(tmp_path / "out"))
