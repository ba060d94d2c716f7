from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.works import make_candidate, make_decoded, make_entry, make_failed, make_finished, make_vote
from videopasta.generate.work import Work
from videopasta.pairs import CANDIDATES, QUARANTINE, SCHEMA_VERSION, pair_id
from videopasta.pairs.schema import candidate_rows, quarantine_row
from videopasta.video import FramePlan

HASHES = {"judge.j2": "0123456789ab", "query.j2": "ba9876543210"}


def written_and_read(rows: list[dict[str, object]], schema: pa.Schema, folder: Path) -> list[dict[str, object]]:
    path = folder / "shard.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    assert pq.read_schema(path).equals(schema)
    return pq.read_table(path).to_pylist()


def make_rows(work: Work) -> list[dict[str, object]]:
    return candidate_rows(work, run_id="run", prompt_hashes=HASHES)


def test_row_has_exactly_the_columns():
    """No column is forgotten, and none is dropped on the way into Parquet."""
    for row in make_rows(make_finished()):
        assert set(row) == set(CANDIDATES.names)
    assert set(quarantine_row(make_failed(), run_id="run")) == set(QUARANTINE.names)


def test_full_row_survives_parquet(tmp_path: Path):
    """Everything known of a pair comes back equal, plans and votes included."""
    votes = (
        make_vote(judge="j@r3", reason="says “left”"),
        make_vote(judge="k@r4", genuine=False, confidence=0.1),
    )
    work = make_finished(
        entry=make_entry(uris=("/v/a.mp4", "/v/copy of a.mp4"), start_s=0.5, end_s=2.0),
        candidates=(make_candidate(votes=votes),),
        models={"query": "q@r1", "response": "org/r@r2", "judge.0": "j@r3", "judge.1": "k@r4"},
    ).having(description="A table.")
    (row,) = written_and_read(make_rows(work), CANDIDATES, tmp_path)
    candidate = work.candidates[0]
    assert FramePlan.from_dict(row["chosen_frame_plan"]) == work.plans["preferred.spatial"]  # type: ignore[arg-type]
    assert FramePlan.from_dict(row["rejected_frame_plan"]) == work.plans["adversarial"]  # type: ignore[arg-type]
    assert row["verdict"] == candidate.verdict.model_dump()  # type: ignore[union-attr]
    assert row["votes"] == [vote.model_dump() for vote in votes]
    assert {one["file"]: one["hash"] for one in row["prompt_hashes"]} == HASHES  # type: ignore[attr-defined]
    plain = {
        "clip_id": work.clip_id,
        "video_uri": "/v/a.mp4",
        "video_uris": ["/v/a.mp4", "/v/copy of a.mp4"],
        "video_sha256": "a" * 64,
        "video_size_bytes": 100,
        "start_s": 0.5,
        "end_s": 2.0,
        "failure_mode": "spatial",
        "query_index": 0,
        "prompt": "Where is the cup?",
        "chosen": candidate.preferred,
        "rejected": candidate.adversarial,
        "adversary": "flipped_relation",
        "adversarial_query": candidate.adversarial_query,
        "unreadable_votes": 0,
        "description": "A table.",
        "accepted": True,
        "drop_reason": None,
        "query_model": {"name": "q", "revision": "r1"},
        "response_model": {"name": "org/r", "revision": "r2"},
        "judge_model": {"name": "j+k", "revision": "r3+r4"},
        "seed": 2**31 - 1,
        "run_id": "run",
        "schema_version": SCHEMA_VERSION,
    }
    assert {name: row[name] for name in plain} == plain


def test_dropped_row_keeps_its_reason_and_has_no_verdict(tmp_path: Path):
    """What a guard dropped was never judged; a filter can be tuned again without a GPU."""
    work = make_finished(candidates=(make_candidate(votes=(), drop_reason="containment"),))
    (row,) = written_and_read(make_rows(work), CANDIDATES, tmp_path)
    assert (row["accepted"], row["drop_reason"], row["verdict"], row["votes"]) == (
        False,
        "containment",
        None,
        [],
    )


@pytest.mark.parametrize(("mode", "num_frames"), [("spatial", 8), ("temporal", 6), ("cross_frame", 4)])
def test_chosen_plan_is_that_of_the_rows_mode(mode: str, num_frames: int):
    """The preferred answer saw its own mode's view; the rejected one the sparse view."""
    candidate = make_candidate(mode=mode)  # type: ignore[arg-type]
    (row,) = make_rows(make_finished(candidates=(candidate,)))
    assert len(row["chosen_frame_plan"]["indices"]) == num_frames  # type: ignore[index]
    assert len(row["rejected_frame_plan"]["indices"]) == 2  # type: ignore[index]


def test_pair_id_is_of_what_the_row_holds():
    """Anyone can compute it again from the row."""
    (row, _) = make_rows(make_finished())
    names = ("clip_id", "failure_mode", "prompt", "chosen", "rejected", "adversary")
    assert row["pair_id"] == pair_id(
        **{name: str(row[name]) for name in names},
        chosen_plan=FramePlan.from_dict(row["chosen_frame_plan"]).key,  # type: ignore[arg-type]
        rejected_plan=FramePlan.from_dict(row["rejected_frame_plan"]).key,  # type: ignore[arg-type]
    )


def test_pair_ids_of_a_clip_differ():
    """Candidates of one clip that share their texts differ by adversary."""
    ids = [row["pair_id"] for row in make_rows(make_finished())]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("model", "name", "revision"),
    [
        ("org/m@abc", "org/m", "abc"),
        ("gpt@", "gpt", None),
        ("user@host/m@abc", "user@host/m", "abc"),
        ("tiny:judge@sha256:12", "tiny:judge", "sha256:12"),
    ],
)
def test_model_is_split_at_its_revision(model: str, name: str, revision: str | None):
    """Names may hold an @ themselves; endpoints need not tell a revision."""
    models = {"query": model, "response": "r@1", "judge.0": "j@1"}
    row = make_rows(make_finished(models=models))[0]
    assert row["query_model"] == {"name": name, "revision": revision}


def test_failed_row_survives_parquet(tmp_path: Path):
    """With the span as the manifest gave it, which replays the clip, and what was known before it failed."""
    early = make_failed(entry=make_entry(uris=("/v/a.mp4", "/v/b.mp4"), start_s=1.5, size_bytes=None))
    late = make_decoded(entry=make_entry(uris=("/v/c.mp4",)))[0].having(
        failure=make_failed(reason="prompt_too_long", stage="response").failure
    )
    rows = [quarantine_row(work, run_id="run") for work in (early, late)]
    first, second = written_and_read(rows, QUARANTINE, tmp_path)
    assert (first["video_uris"], first["start_s"], first["end_s"]) == (["/v/a.mp4", "/v/b.mp4"], 1.5, None)
    assert (first["clip_id"], first["video_sha256"], first["video_size_bytes"]) == (None, None, None)
    assert (first["stage"], first["reason"], first["detail"]) == ("decode", "corrupt", "no frame decodes")
    assert (second["clip_id"], second["video_sha256"]) == (late.clip_id, "a" * 64)
    assert (second["start_s"], second["end_s"], second["stage"]) == (None, None, "response")


def test_clip_without_a_failure_cannot_be_quarantined():
    """A mistake in the program, not in the data."""
    with pytest.raises(ValueError, match="without a failure"):
        quarantine_row(make_finished(), run_id="run")
