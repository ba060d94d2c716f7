"""Rows of pairs as a generation writes them, with or without a video behind them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.clips import make_clip
from tests.works import make_plan
from videopasta.config import DecodeConfig, UniformPlan
from videopasta.pairs import CANDIDATES, SCHEMA_VERSION, PairStore, pair_id
from videopasta.video import ClipRequest, FramePlan, clip_id, decode_clip

VOTE = {
    "genuine": True, "targeted": True, "distinct": True, "preferred_ok": True, "confidence": 0.9, "reason": "plain",
}  # fmt: skip
MODEL = {"name": "m", "revision": "r"}


def make_row(number: int = 0, *, video: str = "a", **others: Any) -> dict[str, Any]:
    """A pair of the video whose content is `video`; others of its columns as given."""
    chosen_plan, rejected_plan = make_plan(num_frames=4), make_plan(num_frames=2)
    sha256 = video * 64
    row = {
        "clip_id": clip_id(sha256, None, None), "video_uri": f"/videos/{video}.mp4",
        "video_uris": [f"/videos/{video}.mp4"], "video_sha256": sha256, "video_size_bytes": 100, "video_info": None,
        "start_s": 0.0, "end_s": 4.0, "failure_mode": ("spatial", "temporal", "cross_frame")[number % 3],
        "query_index": 0, "prompt": f"Where is cup number {number}?",
        "chosen": f"Cup {number} stands left of the plate.", "rejected": f"Cup {number} lies under the table.",
        "adversary": "flipped_relation", "adversarial_query": f"Why is cup {number} under the table?",
        "chosen_frame_plan": chosen_plan.to_dict(), "rejected_frame_plan": rejected_plan.to_dict(),
        "verdict": VOTE | {"agreement": 1.0}, "votes": [{"judge": "j@r", **VOTE}], "unreadable_votes": 0,
        "description": None, "accepted": True, "drop_reason": None, "query_model": MODEL, "response_model": MODEL,
        "judge_model": MODEL, "prompt_hashes": [{"file": "judge.j2", "hash": "0123"}], "seed": 7, "run_id": "run",
        "schema_version": SCHEMA_VERSION,
    } | others  # fmt: skip
    return {"pair_id": id_of(row)} | row


def id_of(row: dict[str, Any]) -> str:
    """As the row's content makes it."""
    given = (row["chosen_frame_plan"], row["rejected_frame_plan"])
    plans = [FramePlan.from_dict(plan).key if plan else "" for plan in given]
    names = ("clip_id", "failure_mode", "prompt", "chosen", "rejected", "adversary")
    return pair_id(**{name: row[name] for name in names}, chosen_plan=plans[0], rejected_plan=plans[1])


def make_seen_row(path: Path, number: int = 0, **others: Any) -> dict[str, Any]:
    """A pair of a real file, made here if it is not there, with the plan by which it was decoded."""
    if not path.exists():
        make_clip(path, num_frames=40, width=84, height=56)
    plan = UniformPlan(num_frames=4)
    clip = decode_clip(ClipRequest(str(path), None, None, {"seen": plan}, DecodeConfig()))
    seen = {
        "clip_id": clip.clip_id, "video_uri": str(path), "video_uris": [str(path)], "video_sha256": clip.video_sha256,
        "video_size_bytes": clip.size_bytes, "start_s": clip.start_s, "end_s": clip.end_s,
        "chosen_frame_plan": clip.plans["seen"].to_dict(),
    }  # fmt: skip
    return make_row(number, **seen | others)


def write_pairs(rows: list[dict[str, Any]], file: Path) -> Path:
    """As a Parquet file of pairs; returns its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=CANDIDATES), file)
    return file.parent


def rows_of(pairs: str) -> dict[str, dict[str, Any]]:
    """The pairs of a set, by id."""
    return {row["pair_id"]: row for row in PairStore(pairs).read("pairs").to_pylist()}


def lines(file: Path) -> list[dict[str, Any]]:
    """Of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]
