"""The columns of the store, and the rows a clip's work becomes. Pure."""

from typing import Any

import pyarrow as pa

from videopasta.generate.work import Candidate, Work
from videopasta.pairs.identity import pair_id

SCHEMA_VERSION = 2

FRAME_PLAN = pa.struct(
    [
        pa.field("indices", pa.list_(pa.int32())),
        pa.field("timestamps_s", pa.list_(pa.float64())),
        pa.field("sampled_fps", pa.float64()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("backend", pa.string()),
    ]
)
VIDEO_INFO = pa.struct(
    [
        pa.field("container", pa.string()),
        pa.field("codec", pa.string()),
        pa.field("stream_index", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("rotation", pa.int32()),
        pa.field("mirrored", pa.bool_()),
        pa.field("fps", pa.float64()),
        pa.field("duration_s", pa.float64()),
        pa.field("num_frames", pa.int64()),
        pa.field("index_source", pa.string()),
    ]
)
MODEL = pa.struct([pa.field("name", pa.string()), pa.field("revision", pa.string())])
# No map: the `datasets` library reads none.
PROMPT = pa.struct([pa.field("file", pa.string()), pa.field("hash", pa.string())])
_OPINION = [
    pa.field("genuine", pa.bool_()),
    pa.field("targeted", pa.bool_()),
    pa.field("distinct", pa.bool_()),
    pa.field("preferred_ok", pa.bool_()),
    pa.field("confidence", pa.float64()),
    pa.field("reason", pa.string()),
]
VERDICT = pa.struct([*_OPINION, pa.field("agreement", pa.float64())])
VOTE = pa.struct([pa.field("judge", pa.string()), *_OPINION])

# `pairs` has the same columns, for the accepted rows.
CANDIDATES = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_uris", pa.list_(pa.string())),  # every name of the same content
        pa.field("video_sha256", pa.string(), nullable=False),
        pa.field("video_size_bytes", pa.int64()),
        pa.field("video_info", VIDEO_INFO),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("failure_mode", pa.string(), nullable=False),
        pa.field("query_index", pa.int32()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
        pa.field("adversary", pa.string(), nullable=False),
        pa.field("adversarial_query", pa.string()),
        pa.field("chosen_frame_plan", FRAME_PLAN),
        pa.field("rejected_frame_plan", FRAME_PLAN),
        pa.field("verdict", VERDICT),  # null when a guard dropped the candidate before any judge
        pa.field("votes", pa.list_(VOTE)),
        pa.field("unreadable_votes", pa.int32()),
        pa.field("description", pa.string()),
        pa.field("accepted", pa.bool_(), nullable=False),
        pa.field("drop_reason", pa.string()),
        pa.field("query_model", MODEL),
        pa.field("response_model", MODEL),
        pa.field("judge_model", MODEL),  # a jury's names and revisions are joined by "+"
        pa.field("prompt_hashes", pa.list_(PROMPT)),
        pa.field("seed", pa.int64()),  # of the adversarial response's request
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("schema_version", pa.int32(), nullable=False),
    ]
)

QUARANTINE = pa.schema(
    [
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_uris", pa.list_(pa.string())),
        pa.field("video_sha256", pa.string()),
        pa.field("video_size_bytes", pa.int64()),
        pa.field("clip_id", pa.string()),  # null when the content could not be read
        pa.field("start_s", pa.float64()),  # as the manifest gives it; null: from the video's start
        pa.field("end_s", pa.float64()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("schema_version", pa.int32(), nullable=False),
    ]
)


def candidate_rows(work: Work, *, run_id: str, prompt_hashes: dict[str, str]) -> list[dict[str, Any]]:
    """One row per candidate of a finished clip, as `CANDIDATES` has it."""
    plans = {name: plan.to_dict() for name, plan in work.plans.items()}
    shared = {
        "clip_id": work.clip_id,
        "video_uri": work.entry.uris[0],
        "video_uris": list(work.entry.uris),
        "video_sha256": work.video_sha256,
        "video_size_bytes": work.entry.size_bytes,
        "video_info": work.video_info,
        "start_s": work.start_s,
        "end_s": work.end_s,
        "rejected_frame_plan": plans["adversarial"],
        "description": work.description,
        "query_model": _model(work.models["query"]),
        "response_model": _model(work.models["response"]),
        "judge_model": _model(*(name for role, name in work.models.items() if role.startswith("judge"))),
        "prompt_hashes": [{"file": file, "hash": text_hash} for file, text_hash in prompt_hashes.items()],
        "run_id": run_id,
        "schema_version": SCHEMA_VERSION,
    }
    return [shared | _candidate(work, candidate, plans) for candidate in work.candidates]


def _candidate(work: Work, candidate: Candidate, plans: dict[str, dict[str, Any]]) -> dict[str, Any]:
    query = candidate.query
    chosen_view = f"preferred.{query.failure_mode}"
    return {
        "pair_id": pair_id(
            clip_id=work.clip_id or "",
            failure_mode=query.failure_mode,
            prompt=query.text,
            chosen=candidate.preferred,
            rejected=candidate.adversarial,
            adversary=candidate.adversary,
            chosen_plan=work.plans[chosen_view].key,
            rejected_plan=work.plans["adversarial"].key,
        ),
        "failure_mode": query.failure_mode,
        "query_index": query.index,
        "prompt": query.text,
        "chosen": candidate.preferred,
        "rejected": candidate.adversarial,
        "adversary": candidate.adversary,
        "adversarial_query": candidate.adversarial_query,
        "chosen_frame_plan": plans[chosen_view],
        "verdict": candidate.verdict.model_dump() if candidate.verdict else None,
        "votes": [vote.model_dump() for vote in candidate.votes],
        "unreadable_votes": candidate.unreadable_votes,
        "accepted": candidate.drop_reason is None,
        "drop_reason": candidate.drop_reason,
        "seed": candidate.seed,
    }


def _model(*names: str) -> dict[str, str | None]:
    parts = [name.rpartition("@") for name in names]
    return {
        "name": "+".join(name for name, _, _ in parts),
        "revision": "+".join(revision for _, _, revision in parts) or None,
    }


def quarantine_row(work: Work, *, run_id: str) -> dict[str, Any]:
    """The row of a clip with a failure, as `QUARANTINE` has it."""
    if work.failure is None:
        raise ValueError(f"{work.entry.uris[0]}: quarantined without a failure")
    return {
        "video_uri": work.entry.uris[0],
        "video_uris": list(work.entry.uris),
        "video_sha256": work.video_sha256,
        "video_size_bytes": work.entry.size_bytes,
        "clip_id": work.clip_id,
        "start_s": work.entry.start_s,
        "end_s": work.entry.end_s,
        **work.failure.model_dump(),
        "run_id": run_id,
        "schema_version": SCHEMA_VERSION,
    }
