import io
from pathlib import Path

from rich.console import Console

from tests.works import make_candidate, make_entry, make_failed, make_finished
from videopasta.pairs import PairStore, Statistics, read_statistics
from videopasta.pairs.inspect import sample_rows, statistics_tables


def make_store(folder: Path) -> PairStore:
    """Two clips, five candidates, three pairs, two failures, in two shards."""
    store = PairStore(str(folder / "out"))
    store.open({})
    first = make_finished(
        content="a",
        candidates=(
            make_candidate(text="Where is the cup?"),
            make_candidate(text="Where is the plate?"),
            make_candidate(adversary="false_between", drop_reason="identical", votes=()),
        ),
    )
    second = make_finished(
        content="b",
        entry=make_entry(uris=("/videos/b.mp4",)),
        candidates=(
            make_candidate(mode="temporal", adversary="reordered"),
            make_candidate(mode="temporal", adversary="reordered", text="Then?", drop_reason="judge_not_distinct"),
        ),
    )
    broken = [
        make_failed(entry=make_entry(uris=(f"/videos/{name}.mp4",)), reason=name) for name in ("empty", "timeout")
    ]
    store.commit([first, broken[0]], run_id="run", number=0, prompt_hashes={})
    store.commit([second, broken[1]], run_id="run", number=1, prompt_hashes={})
    return store


def test_statistics_count_the_folder(tmp_path: Path):
    """Over all shards, by mode, adversary and reason."""
    assert read_statistics(make_store(tmp_path)) == Statistics(
        num_clips=2,
        num_candidates=5,
        num_pairs=3,
        candidates_by_mode={"spatial": 3, "temporal": 2},
        pairs_by_mode={"spatial": 2, "temporal": 1},
        candidates_by_adversary={
            "spatial/false_between": 1,
            "spatial/flipped_relation": 2,
            "temporal/reordered": 2,
        },
        pairs_by_adversary={"spatial/flipped_relation": 2, "temporal/reordered": 1},
        drop_reasons={"identical": 1, "judge_not_distinct": 1},
        num_quarantined=2,
        quarantine_reasons={"empty": 1, "timeout": 1},
    )


def test_statistics_of_an_empty_folder_are_zero(tmp_path: Path):
    """Before the first shard."""
    statistics = read_statistics(PairStore(str(tmp_path)))
    assert (statistics.num_clips, statistics.num_pairs, statistics.num_quarantined) == (0, 0, 0)
    assert statistics.pairs_by_mode == {}


def test_tables_show_every_count(tmp_path: Path):
    """Modes and adversaries without a pair too, and each reason."""
    text = io.StringIO()
    Console(file=text, width=120).print(*statistics_tables(read_statistics(make_store(tmp_path))))
    for part in ("spatial/false_between", "temporal/reordered", "identical", "quarantine: timeout"):
        assert part in text.getvalue()


def test_samples_are_pairs_of_each_mode(tmp_path: Path):
    """As many as asked for, fewer where there are fewer, none dropped."""
    store = make_store(tmp_path)
    rows = sample_rows(store, 1)
    assert [row["failure_mode"] for row in rows] == ["spatial", "temporal"]
    assert [row["prompt"] for row in sample_rows(store, 5)] == [
        "Where is the cup?",
        "Where is the plate?",
        "Where is the cup?",
    ]
    assert sample_rows(store, 0) == []
