"""What stands in a row of somebody's preference pairs, whatever its names. Pure.

In: a row as JSON, CSV or Parquet has it. Out: a `Draft`, or a `RowError`: never anything else. Rows of ms-swift
(`messages`, `rejected_response`), LLaMA-Factory (`conversations`) and TRL (lists of messages, with the prompt apart or
at their start) are told by their shape; all others by the aliases of their columns.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.credentials import credential_in
from videopasta.dpo.data import is_plan
from videopasta.exchange.rejects import RowError

VIDEO = ("video_uri", "video", "video_path", "video_id", "videos")
PROMPT = ("prompt", "question", "query", "instruction")
CHOSEN = ("chosen", "preferred", "preferred_response", "response")
REJECTED = ("rejected", "rejected_response", "adversarial", "dispreferred")
MODE = ("failure_mode", "category", "type")
ADVERSARY = "imported"
"""Of rows that name none: nobody knows how their rejected answer was made."""
_USER, _ASSISTANT = ("user", "human"), ("assistant", "gpt")
_TAGS = re.compile(r"\s*<(?:video|image)>\s*")
_NUM_SHA256_DIGITS = 64
_MAX_SECONDS = 1e9
_MAX_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Draft:
    """A pair as it was read; its video was not looked at yet."""

    video: str | None
    """As it is named; None where the row has the bytes alone."""
    prompt: str
    chosen: str
    rejected: str
    failure_mode: FailureMode
    adversary: str = ADVERSARY
    adversarial_query: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    clip_id: str | None = None
    video_sha256: str | None = None
    chosen_frame_plan: Mapping[str, Any] | None = None
    rejected_frame_plan: Mapping[str, Any] | None = None
    content: bytes | None = None
    """The video's, where the row has it."""


def read_row(row: Mapping[str, Any], default_mode: FailureMode | None = None) -> Draft:
    """The pair in a row.

    Args:
        row: plain values.
        default_mode: of rows that name no failure mode.

    Raises:
        RowError: it holds none, or not one alone.
    """
    prompt, chosen, rejected = _texts(row)
    if chosen == rejected:
        raise RowError("equal_answers", "rejected", rejected, "an answer is not preferred to itself; remove the row")
    video, content = _video(row)
    plans = [_plan(row, name) for name in ("chosen_frame_plan", "rejected_frame_plan")]
    return Draft(
        video=video,
        content=content,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        failure_mode=_mode(row, default_mode),
        adversary=_optional_text(row, "adversary") or ADVERSARY,
        adversarial_query=_optional_text(row, "adversarial_query"),
        start_s=_seconds(row, "start_s"),
        end_s=_seconds(row, "end_s"),
        clip_id=_optional_text(row, "clip_id"),
        video_sha256=_sha256(row),
        chosen_frame_plan=plans[0],
        rejected_frame_plan=plans[1],
    )


def _texts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Query, preferred and rejected answer."""
    for name in ("messages", "conversations"):
        if row.get(name) is not None:
            turns = _turns(name, row[name])
            break
    else:
        return _texts_of_columns(row)
    if turns[-1][0] == "assistant":  # ms-swift has the preferred answer among the messages
        *turns, (_, chosen) = turns
    else:
        chosen = _answer(row, CHOSEN)
    if row.get("rejected_messages") is not None:
        rejected = _turns("rejected_messages", row["rejected_messages"])[-1][1]
    else:
        rejected = _answer(row, REJECTED)
    return _query(name, turns), _filled("chosen", chosen), rejected


def _texts_of_columns(row: Mapping[str, Any]) -> tuple[str, str, str]:
    name = _named(row, PROMPT)
    if name is None:
        # TRL's implicit prompt: both answers are whole conversations, with the same start.
        column = _required(row, CHOSEN, "chosen")
        if not isinstance(row[column], list | tuple) or len(row[column]) < 2:
            raise RowError("no_prompt", None, sorted(row), f"name the query's column one of {', '.join(PROMPT)}")
        turns = _turns(column, row[column])[:-1]
        query = _query(column, turns)
    elif isinstance(row[name], str):
        query = _query(name, [("user", row[name])])
    else:
        query = _query(name, _turns(name, row[name]))
    return query, _answer(row, CHOSEN), _answer(row, REJECTED)


def _query(column: str, turns: list[tuple[str, str]]) -> str:
    """The one thing that the user says, without the place of the video."""
    if [role for role, _ in turns] != ["user"]:
        raise RowError(
            "not_one_query", column, [role for role, _ in turns],
            "a pair has one query of the user and nothing before it; put what stands before into a training's "
            "prompt_template",
        )  # fmt: skip
    return _filled(column, _TAGS.sub(" ", turns[0][1]).strip() if _TAGS.search(turns[0][1]) else turns[0][1].strip())


def _answer(row: Mapping[str, Any], aliases: tuple[str, ...]) -> str:
    """A text, a message, or the last message of a list."""
    name = _required(row, aliases, aliases[0])
    value = row[name]
    if isinstance(value, Mapping):
        value = [value]
    return _filled(name, value) if not isinstance(value, list | tuple) else _filled(name, _turns(name, value)[-1][1])


def _turns(column: str, value: Any) -> list[tuple[str, str]]:
    """Role (`user`, `assistant` or another) and text of each message."""
    wanted = f'write {column} as [{{"role": "user", "content": "..."}}]'
    if isinstance(value, str) or not isinstance(value, list | tuple) or not value:
        raise RowError("no_messages", column, value, wanted)
    turns = []
    for message in value:
        if not isinstance(message, Mapping):
            raise RowError("no_messages", column, message, wanted)
        role = message.get("role") or message.get("from")
        content = message.get("content") if message.get("content") is not None else message.get("value")
        if not isinstance(role, str):
            raise RowError("no_messages", column, message, wanted)
        role = "user" if role in _USER else "assistant" if role in _ASSISTANT else role
        turns.append((role, _content(column, content)))
    return turns


def _content(column: str, content: Any) -> str:
    """The text of a message; of a list of parts, the text parts'."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise RowError("no_text", column, content, "write the message's content as text")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else None
        if text is not None and not isinstance(text, str):
            raise RowError("no_text", column, text, "write the part's text as text")
        if text:
            texts.append(text)
    return "\n".join(texts)


def _filled(column: str, value: Any) -> str:
    """A text that says something and that Parquet can hold."""
    if not isinstance(value, str):
        raise RowError("no_text", column, value, "write a text")
    if not value.strip():
        raise RowError("empty_text", column, value, "fill it in, or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError("not_unicode", column, value, "write the file as UTF-8") from None
    return value


def _optional_text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return None if value is None or value == "" else _filled(name, value)


def _named(row: Mapping[str, Any], aliases: Iterable[str]) -> str | None:
    """The first of the names under which something stands."""
    return next((name for name in aliases if row.get(name) is not None), None)


def _required(row: Mapping[str, Any], aliases: tuple[str, ...], what: str) -> str:
    name = _named(row, aliases)
    if name is None:
        raise RowError(f"no_{what}", None, sorted(map(str, row)), f"name its column one of {', '.join(aliases)}")
    return name


def _video(row: Mapping[str, Any]) -> tuple[str | None, bytes | None]:
    """Name and content of the row's one video."""
    content = row["video"].get("bytes") if isinstance(row.get("video"), Mapping) else None
    if content is not None and not isinstance(content, bytes):
        raise RowError("no_video", "video", content, "write the bytes of a video, or its path")
    name = _named(row, VIDEO)
    if name is None:
        raise RowError("no_video", None, sorted(map(str, row)), f"name the video's column one of {', '.join(VIDEO)}")
    value = row[name]
    if isinstance(value, Mapping):
        value = value.get("path")
        if value is None and content is not None:
            return None, content
    if isinstance(value, list | tuple):
        if len(value) != 1:
            raise RowError("not_one_video", name, value, "a pair is about one video; write one path")
        value = value[0]
    if isinstance(value, list | tuple):
        fix = "add a column video_uri with the video that the frames are of: pairs name their video"
        raise RowError("frames_without_video", name, value, fix)
    path = _filled(name, value)
    if "\0" in path:
        raise RowError("no_video", name, path, "write the path of a video")
    if found := credential_in(path):
        raise RowError("secret", name, f"({found})", "write the plain uri; keys come by the environment")
    return path, content


def _mode(row: Mapping[str, Any], default: FailureMode | None) -> FailureMode:
    name = _named(row, MODE)
    if name is None or row[name] == "":
        if default is None:
            raise RowError(
                "no_failure_mode", None, sorted(map(str, row)),
                f"name its column one of {', '.join(MODE)}, or give --failure-mode",
            )  # fmt: skip
        return default
    value = row[name]
    words = re.sub(r"[\W_]+", "_", value.lower()).strip("_") if isinstance(value, str) else ""
    words = words.replace("crossframe", "cross_frame")
    for mode in FAILURE_MODES:
        if words == mode or words.startswith(f"{mode}_"):
            return mode
    raise RowError("unknown_failure_mode", name, value, f"write one of {', '.join(FAILURE_MODES)}")


def _seconds(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= _MAX_SECONDS:
        raise RowError("bad_span", name, value, "write seconds from the video's start, or nothing")
    return seconds


def _sha256(row: Mapping[str, Any]) -> str | None:
    value = _optional_text(row, "video_sha256")
    if value is not None and not re.fullmatch(rf"[0-9a-f]{{{_NUM_SHA256_DIGITS}}}", value):
        raise RowError("bad_sha256", "video_sha256", value, "write the SHA-256 of the video in hex, or nothing")
    return value


def _plan(row: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, Mapping) or not is_plan(value) or not _is_whole(value):
        raise RowError("bad_frame_plan", name, value, "write the plan as an export does, or nothing")
    return value


def _is_whole(plan: Mapping[str, Any]) -> bool:
    """Whether its counts are whole numbers that Parquet can hold."""
    numbers = (*plan["indices"], plan["height"], plan["width"])
    return all(type(number) is int and number <= _MAX_INT32 for number in numbers)
