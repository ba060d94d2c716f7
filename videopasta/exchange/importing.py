"""Pairs of others as a folder of pairs, which trains, exports and filters like one that was generated.

Rows are read in batches; those that bring neither the hash of their video nor a frame plan have it looked at, once a
clip. All rows that make a pair become candidates, those that pass the guards become pairs, and all others stand in
`rejects.jsonl`; clips whose video cannot be used are in `quarantine/` as well.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any

import pyarrow as pa

from videopasta import storage
from videopasta.config import ImportConfig, fingerprint
from videopasta.errors import UserError
from videopasta.exchange.files import PROVENANCE, find_files, read_rows
from videopasta.exchange.formats import rewritten
from videopasta.exchange.parse import Draft, read_row
from videopasta.exchange.rejects import FILE_NAME, Place, Reject, RowError
from videopasta.generate.guards import check_pair
from videopasta.pairs.identity import pair_id
from videopasta.pairs.schema import CANDIDATES, QUARANTINE, SCHEMA_VERSION
from videopasta.pairs.store import PairStore
from videopasta.run_file import writing
from videopasta.video import ClipRequest, DecodeWorker, FramePlan, VideoError, clip_id

_ROWS_PER_SHARD = 2048
Rules = tuple[tuple[str, str], ...]


@dataclass
class ImportReport:
    """What became of the rows."""

    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    num_rows: int = 0
    num_candidates: int = 0
    num_pairs: int = 0
    num_looked_at: int = 0
    """Clips whose video was opened."""
    drop_reasons: Counter[str] = field(default_factory=Counter)
    """Of candidates that are no pairs."""
    reject_reasons: Counter[str] = field(default_factory=Counter)
    quarantine_reasons: Counter[str] = field(default_factory=Counter)
    finished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class _Looked:
    """What a video told."""

    clip_id: str
    video_sha256: str
    size_bytes: int
    start_s: float
    end_s: float
    info: dict[str, Any]
    plan: dict[str, Any]


def import_pairs(
    source: str,
    out: str,
    config: ImportConfig,
    *,
    videos: str | None = None,
    rewrite: Rules = (),
    on_batch: Callable[[ImportReport], None] = lambda report: None,
) -> tuple[ImportReport, list[Reject]]:
    """Read `source` into `out`, a new folder.

    Args:
        source: file or folder.
        out: the folder of pairs.
        config: how.
        videos: folder in which videos are looked for by their name, with or without its extension.
        rewrite: prefixes of videos' names, and what stands for them.
        on_batch: told of progress.

    Raises:
        UserError: a file cannot be read, `out` is not new, or no row makes a pair.
    """
    files = find_files(source)
    store = PairStore(out)
    depends_on = {"import": {"source": storage.absolute(source), "videos": videos, "rewrite": rewrite},
                  "config": fingerprint(config)}  # fmt: skip
    if store.check(depends_on):
        raise UserError(f"--out {out}: holds what was imported before; give a new folder")
    now = datetime.now(UTC)
    report = ImportReport(f"{now:%Y%m%dT%H%M%S}-import", now.isoformat(timespec="seconds"))
    namer = _Namer(videos, rewrite)
    rejects: list[Reject] = []
    known: dict[str, Place] = {}
    begin = cache(lambda: store.open(depends_on))  # with the first thing that is written, so a refusal leaves nothing
    with store.locked(), _Looker(config) as looker:
        rows = ((place, row) for file in files for place, row in read_rows(file))
        number = 0

        def keep(draft: Draft) -> str:
            begin()
            return _kept_content(draft, store.uri)

        while batch := list(islice(rows, _ROWS_PER_SHARD)):
            made = []
            for place, found in batch:
                try:
                    row = _made(place, found, config, namer, looker, keep, report.run_id)
                    if first := known.get(row["pair_id"]):
                        raise RowError(
                            "duplicate", "prompt", row["prompt"], f"the same pair is {first}; remove the row"
                        )
                except RowError as error:
                    rejects.append(Reject.of(place, error))
                else:
                    known[row["pair_id"]] = place
                    made.append(row)
            _count(report, len(batch), made, rejects, looker)
            if made:
                begin()
                table = pa.Table.from_pylist(made, schema=CANDIDATES)
                store.write("candidates", f"part-{report.run_id}-{number:05d}.parquet", table)
                number += 1
            on_batch(report)
        if not number:
            example = f"; the first: {rejects[0]}" if rejects else ""
            raise UserError(f"{source}: none of {report.num_rows} rows makes a pair{example}")
        if looker.quarantined:
            table = pa.Table.from_pylist(
                [row | {"run_id": report.run_id} for row in looker.quarantined], schema=QUARANTINE
            )
            store.write("quarantine", f"part-{report.run_id}-00000.parquet", table)
        write_rejects(out, rejects)
        report.finished = True
        store.record_run(report.to_dict())
    return report, rejects


def write_rejects(folder: str, rejects: Sequence[Reject]) -> None:
    """`rejects.jsonl` in a folder; nothing where there are none."""
    if not rejects:
        return
    filesystem, path = storage.resolve(storage.join(folder, FILE_NAME))
    with writing(path), filesystem.open_output_stream(path) as stream:
        for reject in rejects:
            stream.write(json.dumps(reject.to_dict()).encode() + b"\n")


def _count(
    report: ImportReport, num_rows: int, made: list[dict[str, Any]], rejects: list[Reject], looker: "_Looker"
) -> None:
    report.num_rows += num_rows
    report.num_candidates += len(made)
    report.num_pairs += sum(row["accepted"] for row in made)
    report.num_looked_at = looker.num_clips
    report.drop_reasons.update(row["drop_reason"] for row in made if not row["accepted"])
    report.reject_reasons = Counter(reject.reason for reject in rejects)
    report.quarantine_reasons = Counter(row["reason"] for row in looker.quarantined)


def _made(
    place: Place, found: Mapping[str, Any] | RowError, config: ImportConfig, namer: "_Namer", looker: "_Looker",
    keep: Callable[[Draft], str], run_id: str,
) -> dict[str, Any]:  # fmt: skip
    """The row of the store.

    Raises:
        RowError: it makes none.
    """
    if isinstance(found, RowError):
        raise found
    draft = read_row(found, config.failure_mode)
    uri = keep(draft) if draft.content is not None else namer.uri(draft.video or "", place)
    row = {name: found.get(name) for name in PROVENANCE} if place.file.endswith(".parquet") else {}
    row |= _of_video(draft, uri, looker)
    drop_reason = check_pair(draft.chosen, draft.rejected, config.guards)
    plans = [plan and FramePlan.from_dict(plan).key for plan in (row["chosen_frame_plan"], draft.rejected_frame_plan)]
    return row | {
        "pair_id": pair_id(
            clip_id=str(row["clip_id"]), failure_mode=draft.failure_mode, prompt=draft.prompt, chosen=draft.chosen,
            rejected=draft.rejected, adversary=draft.adversary, chosen_plan=plans[0] or "",
            rejected_plan=plans[1] or "",
        ),
        "video_uri": uri,
        "video_uris": row.get("video_uris") if uri in (row.get("video_uris") or ()) else [uri],
        "failure_mode": draft.failure_mode,
        "prompt": draft.prompt,
        "chosen": draft.chosen,
        "rejected": draft.rejected,
        "adversary": draft.adversary,
        "adversarial_query": draft.adversarial_query,
        "rejected_frame_plan": draft.rejected_frame_plan,
        "accepted": drop_reason is None,
        "drop_reason": drop_reason,
        "run_id": run_id,
        "schema_version": SCHEMA_VERSION,
    }  # fmt: skip


def _of_video(draft: Draft, uri: str, looker: "_Looker") -> dict[str, Any]:
    """What the row says of its video; where that is not enough, what the video says."""
    if draft.video_sha256 and draft.chosen_frame_plan:
        return {
            "clip_id": draft.clip_id or clip_id(draft.video_sha256, draft.start_s, draft.end_s),
            "video_sha256": draft.video_sha256,
            "start_s": draft.start_s,
            "end_s": draft.end_s,
            "chosen_frame_plan": draft.chosen_frame_plan,
        }
    seen = looker.look(uri, draft)
    return {
        "clip_id": seen.clip_id,
        "video_sha256": seen.video_sha256,
        "video_size_bytes": seen.size_bytes,
        "video_info": seen.info,
        "start_s": seen.start_s,
        "end_s": seen.end_s,
        "chosen_frame_plan": seen.plan,
    }


def _kept_content(draft: Draft, out: str) -> str:
    """The uri of an embedded video, now a file of its own in OUT/videos."""
    content = draft.content or b""
    sha256 = hashlib.sha256(content).hexdigest()
    if draft.video_sha256 not in (None, sha256):
        fix = f"the bytes have SHA-256 {sha256}; embed the video that the pair was made from"
        raise RowError("video_changed", "video_sha256", draft.video_sha256, fix)
    extension = (draft.video or "").rpartition(".")[2].lower()
    uri = storage.join(storage.absolute(out), "videos", f"{sha256[:16]}.{extension if extension.isalnum() else 'mp4'}")
    if not storage.exists(uri):
        filesystem, path = storage.resolve(uri)
        with writing(path):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
    return uri


class _Namer:
    """From the names of videos to their uris."""

    def __init__(self, videos: str | None, rewrite: Rules) -> None:
        self._videos, self._rewrite = videos, rewrite
        self._uris: dict[str, list[str]] = {}
        for file in storage.list_files(videos) if videos else ():
            name = file.uri.rpartition("/")[2]
            for key in {name, name.rpartition(".")[0] or name}:
                self._uris.setdefault(key, []).append(file.uri)

    def uri(self, name: str, place: Place) -> str:
        """Where the video lies.

        Raises:
            RowError: it is not in the folder of videos, or is there twice.
        """
        name = rewritten(name, self._rewrite)
        if not self._videos:
            return storage.absolute(storage.join(storage.parent(place.file), name))
        found = self._uris.get(name.rpartition("/")[2], [])
        if len(found) > 1:
            raise RowError("ambiguous_video", "video", name, f"--videos has {found[0]} and {found[1]}; rename one")
        if not found:
            raise RowError("video_missing", "video", name, f"--videos {self._videos} has no file of that name; add it")
        return found[0]


class _Looker:
    """Looks at videos, each clip once, in a process that can be killed."""

    def __init__(self, config: ImportConfig) -> None:
        self._config = config
        self._worker = DecodeWorker(config.decode)
        self._seen: dict[tuple[Any, ...], _Looked | VideoError] = {}
        self.quarantined: list[dict[str, Any]] = []

    @property
    def num_clips(self) -> int:
        return len(self._seen)

    def look(self, uri: str, draft: Draft) -> _Looked:
        """What the video tells of the draft's clip.

        Raises:
            RowError: it cannot be used, or is another one than the row says.
        """
        plan = FramePlan.from_dict(draft.chosen_frame_plan) if draft.chosen_frame_plan else None
        key = (uri, draft.start_s, draft.end_s, plan and plan.key)
        if key not in self._seen:
            self._seen[key] = self._opened(uri, draft, plan)
        seen = self._seen[key]
        if isinstance(seen, VideoError):
            raise RowError(f"video_{seen.reason}", "video", uri, seen.detail)
        if draft.video_sha256 not in (None, seen.video_sha256):
            fix = f"the file has SHA-256 {seen.video_sha256}; give the video that the pair was made from"
            raise RowError("video_changed", "video_sha256", draft.video_sha256, fix)
        return seen

    def _opened(self, uri: str, draft: Draft, plan: FramePlan | None) -> _Looked | VideoError:
        request = ClipRequest(uri, draft.start_s, draft.end_s, {"seen": plan or self._config.plan}, self._config.decode)
        try:
            clip = self._worker.decode(request)
        except VideoError as error:
            self.quarantined.append(
                {
                    "video_uri": uri, "video_uris": [uri], "video_sha256": error.video_sha256,
                    "start_s": draft.start_s, "end_s": draft.end_s, "stage": "decode", "reason": str(error.reason),
                    "detail": error.detail, "schema_version": SCHEMA_VERSION,
                }
            )  # fmt: skip
            return error
        return _Looked(
            clip.clip_id, clip.video_sha256, clip.size_bytes, clip.start_s, clip.end_s, clip.info.to_dict(),
            clip.plans["seen"].to_dict(),
        )  # fmt: skip

    def __enter__(self) -> "_Looker":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()
