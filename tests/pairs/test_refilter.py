"""A filtered set is a folder of pairs like the one it comes from, and says where that is and what was changed."""

from pathlib import Path

import pyarrow as pa
import pytest

from tests.exchange.rows import MODEL, VOTE, id_of, make_row
from tests.pairs.test_reviews import row as review_row
from tests.pairs.test_reviews import write_reviews
from videopasta.config import ExportConfig, GenerateConfig, RefilterConfig, TrainConfig, fingerprint
from videopasta.config.train import ValidationConfig
from videopasta.dpo.data import pair_files, read_pairs, select
from videopasta.errors import UserError
from videopasta.exchange.exporting import export
from videopasta.pairs import CANDIDATES, QUARANTINE, SCHEMA_VERSION, PairStore, read_statistics
from videopasta.pairs.refilter import refilter
from videopasta.pairs.reviews import read_reviews

RUN = {"run_id": "run", "versions": {"vllm": "1"}}
MADE_WITH = {"config": fingerprint(GenerateConfig()), "prompts": {}}


def make_set(folder: Path, rows: list[dict], *, made_with: dict = MADE_WITH) -> str:
    """As a generation leaves it, in two shards."""
    store = PairStore(str(folder))
    store.open(made_with)
    half = len(rows) // 2
    for number, some in enumerate((rows[:half], rows[half:])):
        store.write("candidates", f"part-run-{number:05d}.parquet", pa.Table.from_pylist(some, schema=CANDIDATES))
    failed = {"video_uri": "/v/bad.mp4", "video_uris": ["/v/bad.mp4"], "stage": "decode", "reason": "corrupt",
              "run_id": "run", "schema_version": SCHEMA_VERSION}  # fmt: skip
    store.write("quarantine", "part-run-00000.parquet", pa.Table.from_pylist([failed], schema=QUARANTINE))
    store.record_run(RUN)
    return str(folder)


def confident(number: int, confidence: float, **others) -> dict:
    vote = {"judge": "j@r", **VOTE, "confidence": confidence}
    verdict = {**VOTE, "confidence": confidence, "agreement": 1.0}
    return make_row(number, votes=[vote], verdict=verdict, **others)


@pytest.fixture
def source(tmp_path: Path) -> str:
    rows = [confident(n, 0.5 + n / 20, video=f"{n // 3:x}") for n in range(9)]
    rows.append(make_row(9, votes=[], verdict=None, accepted=False, drop_reason="identical"))
    rows.append(confident(10, 0.4, accepted=False, drop_reason="judge_low_confidence"))
    return make_set(tmp_path / "source", rows)


def pairs_of(folder: str) -> dict[str, dict]:
    return {row["pair_id"]: row for row in PairStore(folder).read("pairs").to_pylist()}


def test_without_thresholds_the_set_is_what_it_was(source: str, tmp_path: Path):
    """Rows, quarantine, and counts."""
    refilter(source, str(tmp_path / "out"), RefilterConfig())
    before, after = PairStore(source), PairStore(str(tmp_path / "out"))
    for kind in ("candidates", "pairs", "quarantine"):
        assert after.read(kind).equals(before.read(kind))
    assert read_statistics(after) == read_statistics(before)


def test_thresholds_work_both_ways(source: str, tmp_path: Path):
    """A higher one drops, a lower one brings back; every candidate is still there with its reason."""
    report = refilter(source, str(tmp_path / "high"), RefilterConfig(min_confidence=0.8))
    assert (report.num_candidates, report.num_before, report.num_pairs) == (11, 9, 3)
    assert report.drop_reasons == {"identical": 1, "judge_low_confidence": 7}
    report = refilter(str(tmp_path / "high"), str(tmp_path / "low"), RefilterConfig(min_confidence=0.1))
    assert (report.num_before, report.num_pairs) == (3, 10)
    assert report.drop_reasons == {"identical": 1}


def test_the_new_set_says_where_it_comes_from(source: str, tmp_path: Path):
    """Source and options in its fingerprint; the runs of the source, which its rows name; what was dropped."""
    report = refilter(source, str(tmp_path / "out"), RefilterConfig(max_per_clip=1))
    run = PairStore(str(tmp_path / "out")).read_run()
    assert run is not None
    assert run["fingerprint"]["source"]["uri"] == source
    assert run["fingerprint"]["refilter"]["max_per_clip"] == 1
    assert run["fingerprint"]["config"] == PairStore(source).read_run()["fingerprint"]["config"]
    assert run["runs"] == [RUN, report.to_dict()]
    assert report.drop_reasons["over_max_per_clip"] == 6
    assert report.by_mode["spatial"] == {"candidates": 4, "before": 3, "now": 3}


def test_the_new_set_is_trained_on_and_exported(source: str, tmp_path: Path):
    """Like one that was generated."""
    out = str(tmp_path / "out")
    refilter(source, out, RefilterConfig(balance=True, max_per_clip=2))
    chosen = select(read_pairs(pair_files(out)), TrainConfig())
    assert sum(len(clip.pairs) for clip in (*chosen.train, *chosen.validation)) == len(pairs_of(out)) == 6
    report, rejects = export(out, str(tmp_path / "theirs"), "flat", ExportConfig(validation=ValidationConfig(share=0)))
    assert not rejects
    assert report.rows == {"train": 6}


def test_decisions_of_people_are_applied(source: str, tmp_path: Path):
    """Accepted, rejected, swapped and edited; the new pairs have ids of their own, and know the old ones."""
    rows = PairStore(source).read("candidates").to_pylist()
    ids = [row["pair_id"] for row in rows]
    write_reviews(
        Path(source) / "reviews",
        review_row(pair_id=ids[10], decision="accept"), review_row(pair_id=ids[0], decision="reject"),
        review_row(pair_id=ids[1], decision="swap"),
        review_row(pair_id=ids[2], decision="edit", rejected="Cup 2 was never there at all."),
        review_row(pair_id="gone", decision="accept"),
    )  # fmt: skip
    report = refilter(source, str(tmp_path / "out"), RefilterConfig(min_confidence=0.99))
    assert report.decisions == {"accept": 1, "reject": 1, "swap": 1, "edit": 1, "unknown_pair": 1}
    assert report.drop_reasons["review_reject"] == 1
    found = pairs_of(str(tmp_path / "out"))
    assert len(found) == 3
    assert ids[10] in found
    swapped = next(row for row in found.values() if row["chosen"] == rows[1]["rejected"])
    edited = next(row for row in found.values() if row["prompt"] == rows[2]["prompt"])
    assert swapped["rejected"] == rows[1]["chosen"]
    assert (edited["chosen"], edited["rejected"]) == (rows[2]["chosen"], "Cup 2 was never there at all.")
    for row, old in ((swapped, rows[1]), (edited, rows[2])):
        assert row["pair_id"] == id_of(row) != old["pair_id"]
        assert row["verdict"] is None
        assert row["chosen_frame_plan"] == old["chosen_frame_plan"]
    kept = read_reviews(str(tmp_path / "out"))
    assert (kept[swapped["pair_id"]].from_pair_id, kept[swapped["pair_id"]].from_decision) == (ids[1], "swap")


def test_decisions_hold_when_a_set_is_filtered_again(source: str, tmp_path: Path):
    """Nothing is swapped twice, and what was rejected stays away."""
    ids = [row["pair_id"] for row in PairStore(source).read("candidates").to_pylist()]
    write_reviews(
        Path(source) / "reviews", review_row(pair_id=ids[0], decision="reject"),
        review_row(pair_id=ids[1], decision="swap"),
    )  # fmt: skip
    refilter(source, str(tmp_path / "once"), RefilterConfig())
    refilter(str(tmp_path / "once"), str(tmp_path / "twice"), RefilterConfig())
    assert pairs_of(str(tmp_path / "twice")) == pairs_of(str(tmp_path / "once"))
    assert read_reviews(str(tmp_path / "twice")) == read_reviews(str(tmp_path / "once"))
    kept = read_reviews(str(tmp_path / "twice")).values()
    assert {review.from_pair_id for review in kept} == {ids[0], ids[1]}


def test_an_edit_that_makes_two_pairs_one_keeps_one(tmp_path: Path):
    """The person's."""
    rows = [make_row(n, judge_model=None, votes=[], verdict=None, adversary="imported") for n in (0, 3)]
    rows[1] |= {"prompt": rows[0]["prompt"], "failure_mode": rows[0]["failure_mode"]}
    rows[1]["pair_id"] = id_of(rows[1])
    source = make_set(tmp_path / "source", rows)
    edit = {"chosen": rows[0]["chosen"], "rejected": rows[0]["rejected"]}
    write_reviews(tmp_path / "source/reviews", review_row(pair_id=rows[1]["pair_id"], decision="edit", **edit))
    report = refilter(source, str(tmp_path / "out"), RefilterConfig())
    assert report.num_pairs == 1
    assert report.drop_reasons == {"near_duplicate": 1}


def test_thresholds_of_the_generation_are_the_defaults(tmp_path: Path):
    """They stand in its run.json."""
    strict = {"config": fingerprint(GenerateConfig.model_validate({"judge": {"min_confidence": 0.7}})), "prompts": {}}
    source = make_set(
        tmp_path / "source", [confident(n, n / 10, judge_model=MODEL) for n in range(10)], made_with=strict
    )
    assert refilter(source, str(tmp_path / "out"), RefilterConfig()).num_pairs == 3


@pytest.mark.parametrize(
    ("folder", "out", "words"),
    [
        ("nowhere", "out", "no run.json"),
        ("source", "source", "another configuration"),
        ("source", "full", "not empty and not ours"),
    ],
)
def test_what_cannot_be_filtered_is_refused(source: str, tmp_path: Path, folder: str, out: str, words: str):
    """A folder of something else, onto itself, over other files."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").touch()
    with pytest.raises(UserError, match=words):
        refilter(str(tmp_path / folder), str(tmp_path / out), RefilterConfig())


def test_a_set_without_a_pair_is_not_written(source: str, tmp_path: Path):
    """Thresholds too high."""
    with pytest.raises(UserError, match="no pair is left of 11 candidates"):
        refilter(source, str(tmp_path / "out"), RefilterConfig(min_confidence=1.0))
    assert not (tmp_path / "out").exists()


def test_remote_sets_are_filtered(tmp_path: Path):
    """As local ones are."""
    rows = [confident(n, 0.9) for n in range(4)]
    remote = f"memory://{tmp_path.name}"
    make_set(f"{remote}/source", rows)  # type: ignore[arg-type]
    refilter(f"{remote}/source", f"{remote}/out", RefilterConfig(max_per_clip=2))
    assert len(pairs_of(f"{remote}/out")) == 2
