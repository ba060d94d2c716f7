"""Which pairs take part, and which videos are held out. Pure, but for reading Parquet.

In: rows of `pairs/`. Out: clips to train on and to validate with, and how many pairs were left out for which reason.
A pair left out is counted, never forgotten; a file without the needed columns is refused.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.config import FAILURE_MODES, FailureMode, TrainConfig
from videopasta.config.video import Backend
from videopasta.dpo.examples import Clip, Encoder, group
from videopasta.errors import UserError
from videopasta.pairs.schema import CANDIDATES
from videopasta.video import FramePlan

_MAX_PIXELS = 2**30
"""Of all frames of a plan: 3 GiB decoded. Rows of pairs come from elsewhere."""
COLUMNS = (
    "pair_id", "video_uri", "start_s", "end_s", "video_sha256", "failure_mode", "prompt", "chosen", "rejected",
    "adversarial_query", "chosen_frame_plan",
)  # fmt: skip
REFERENCES = "reference"
"""The folder beside the pairs that holds log-probs of theirs."""
_TEXTS = ("pair_id", "video_uri", "video_sha256", "prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Selection:
    """What a training is about."""

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    """Of other videos than `train`."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Pairs left out, by reason."""

    def counts(self) -> dict[FailureMode, int]:
        """Pairs to train on, by failure mode."""
        found = Counter(pair.failure_mode for clip in self.train for pair in clip.pairs)
        return {mode: found[mode] for mode in FAILURE_MODES}

    def digest(self) -> str:
        """15 hex digits of what is trained on and looked at: the pairs on either side, with their contents."""
        sides = (self.train, self.validation)
        contents = [(n, clip.content_of(pair)) for n, side in enumerate(sides) for clip in side for pair in clip.pairs]
        return digest(f"{n} {content}" for n, content in contents)

    def without(self, lost: Mapping[str, str]) -> "Selection":
        """Less the clips whose keys are in `lost`, counted under the reason that stands there."""
        skipped = Counter(self.skipped)
        for clip in (*self.train, *self.validation):
            if clip.key in lost:
                skipped[lost[clip.key]] += len(clip.pairs)
        train, validation = (tuple(c for c in side if c.key not in lost) for side in (self.train, self.validation))
        return Selection(train, validation, skipped)


def pair_files(uri: str) -> list[str]:
    """The Parquet files of pairs at `uri`: the --out of `videopasta generate`, another folder, or one file.

    Raises:
        UserError: there are none, or one cannot be read, lacks a column, or has one of another type.
    """
    if storage.kind(uri) == "missing":
        raise UserError(f"{uri}: nothing stands there; check the path")
    if storage.kind(uri) == "file":
        files = [uri]
    else:
        ours = storage.join(uri, "pairs")
        folder = ours if storage.kind(ours) == "folder" else uri
        references = storage.join(folder, REFERENCES)
        files = [file.uri for file in storage.list_files(folder) if file.uri.endswith(".parquet")]
        files = [file for file in files if not file.startswith(f"{references}/")]
    if not files:
        raise UserError(f"{uri}: no Parquet files; give the --out of `videopasta generate`, or a Parquet file")
    for file in files:
        filesystem, path = storage.resolve(file)
        try:
            found = pq.read_schema(path, filesystem=filesystem)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file}: not a Parquet file ({error}); give one, or remove it from the folder") from error
        missing = [name for name in COLUMNS if name not in found.names]
        if missing:
            raise UserError(
                f"{file}: no column {', '.join(missing)}; pairs need {', '.join(COLUMNS)}, as `videopasta generate` "
                "writes them"
            )
        for name in COLUMNS:
            kind, wanted = found.field(name).type, CANDIDATES.field(name).type
            if not _is_like(kind, wanted):
                raise UserError(f"{file}: column {name} holds {kind}; write it as {wanted}")
    return files


def _is_like(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether rows get such values; a column without any has the type null."""
    if pa.types.is_null(found):
        return True
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_struct(wanted):
        fields = {field.name: field.type for field in found} if pa.types.is_struct(found) else {}
        return all(field.name in fields and _is_like(fields[field.name], field.type) for field in wanted)
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return is_list and _is_like(found.value_type, wanted.value_type)
    if pa.types.is_string(wanted):
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    return pa.types.is_integer(found) or (pa.types.is_floating(wanted) and pa.types.is_floating(found))


def read_pairs(files: Iterable[str], *more: str) -> list[dict[str, Any]]:
    """The rows of `pair_files`: what a training needs of them, and the columns `more` where they are there.

    Raises:
        UserError: a file is damaged.
    """
    rows: list[dict[str, Any]] = []
    for file in files:
        filesystem, path = storage.resolve(file)
        try:
            names = set(pq.read_schema(path, filesystem=filesystem).names).intersection(more)
            rows += pq.read_table(path, filesystem=filesystem, columns=[*COLUMNS, *names]).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: damaged ({error}); write it anew, or remove it from the folder") from error
    return rows


def digest_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """15 hex digits of all that a training takes from its pairs."""
    return digest(json.dumps({name: row[name] for name in COLUMNS}, sort_keys=True) for row in rows)


def digest(texts: Iterable[str]) -> str:
    """15 hex digits of a set of texts, whatever their order."""
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:15]


def select(rows: Iterable[Mapping[str, Any]], config: TrainConfig) -> Selection:
    """Check the rows, group them by clip, and hold some videos out."""
    skipped: Counter[str] = Counter()
    kept: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        reason = fault(row) or ("duplicate" if row["pair_id"] in kept else None)
        if reason is None and row["failure_mode"] not in config.failure_modes:
            reason = "other_failure_mode"
        if reason:
            skipped[reason] += 1
        else:
            kept[row["pair_id"]] = row
    clips = group(kept.values(), config.prompts, config.prompt_template)
    unseen = held_out({clip.video_sha256 for clip in clips}, config.validation.share, config.seed)
    return Selection(
        tuple(clip for clip in clips if clip.video_sha256 not in unseen),
        tuple(clip for clip in clips if clip.video_sha256 in unseen),
        skipped,
    )


def fault(row: Mapping[str, Any]) -> str | None:
    """Why a row makes no pair to train on; None where it does."""
    if not all(isinstance(row[name], str) and row[name].strip() for name in _TEXTS):
        return "empty_text"
    if row["failure_mode"] not in FAILURE_MODES:
        return "unknown_failure_mode"
    if row["chosen"] == row["rejected"]:
        return "equal_answers"
    if row["chosen_frame_plan"] is None:
        return "no_frame_plan"
    return None if is_plan(row["chosen_frame_plan"]) else "bad_frame_plan"


def is_plan(value: Mapping[str, Any]) -> bool:
    """Whether frames can be decoded by it; if those are the video's, decoding tells."""
    try:
        plan = FramePlan.from_dict(value)
        numbers = (*plan.indices, *plan.timestamps_s, plan.sampled_fps, plan.height, plan.width)
        return (
            all(math.isfinite(number) for number in numbers)
            and len(plan.indices) == len(plan.timestamps_s) >= 2
            and list(plan.indices) == sorted({max(0, index) for index in plan.indices})
            and len(plan.indices) % 2 == 0
            and min(plan.sampled_fps, plan.height, plan.width) > 0
            and len(plan.indices) * plan.height * plan.width <= _MAX_PIXELS
            and plan.backend in get_args(Backend)
        )
    except (KeyError, TypeError, OverflowError):  # a field that is missing, null, one too many, or beyond any number
        return False


def held_out(videos: set[str], share: float, seed: int) -> set[str]:
    """That share of the videos, by a hash, so that few change sides when videos are added; one at least."""
    ordered = sorted(videos, key=lambda sha256: hashlib.sha256(f"{seed} {sha256}".encode()).hexdigest())
    return set(ordered[: max(1, round(share * len(ordered)))] if share and len(ordered) > 1 else [])


def fitting(selection: Selection, encoder: Encoder, *, max_answer_tokens: int, tokens_per_pack: int) -> Selection:
    """Less the pairs that are too long for the model's tokens: nothing is ever cut."""
    skipped = Counter(selection.skipped)

    def trimmed(clips: Sequence[Clip]) -> tuple[Clip, ...]:
        kept = []
        for clip in clips:
            prefix = len(encoder.prefix(clip.plan)[0])
            pairs = []
            for pair in clip.pairs:
                answers = [len(encoder.answer(text)) for text in (pair.chosen, pair.rejected)]
                if max(answers) > max_answer_tokens:
                    skipped["answer_too_long"] += 1
                elif prefix + len(encoder.query(pair.prompt)) + sum(answers) > tokens_per_pack:
                    skipped["exceeds_pack"] += 1
                else:
                    pairs.append(pair)
            if pairs:
                kept.append(replace(clip, pairs=tuple(pairs)))
        return tuple(kept)

    return Selection(trimmed(selection.train), trimmed(selection.validation), skipped)
