"""How stages talk to an engine: seeded by the row, counted per frame plan, JSON parsed."""

import asyncio
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from videopasta.config import SamplingConfig
from videopasta.engine import Answer, Engine, Request, Usage, Video
from videopasta.generate.work import Calls

T = TypeVar("T")


def derive_seed(run_seed: int, *parts: object) -> int:
    """A request's seed, 0 <= seed < 2**31, from what it is about; never from worker, order or time."""
    text = json.dumps([run_seed, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


class Asker:
    """An engine in one role for one clip; remembers what its requests cost."""

    def __init__(self, engine: Engine, role: str, *, run_seed: int, clip_id: str) -> None:
        self._engine = engine
        self._role = role
        self._seed_parts = (run_seed, clip_id, role)
        self._usages: dict[str | None, list[Usage]] = defaultdict(list)
        self._video_tokens: dict[str | None, int] = {None: 0}

    @property
    def model(self) -> str:
        """The model as "name@revision"."""
        model_id = self._engine.model_id
        return f"{model_id.name}@{model_id.revision or ''}"

    def seed(self, *parts: object) -> int:
        """The seed of the request that is about `parts`."""
        run_seed, *known = self._seed_parts
        return derive_seed(int(run_seed), *known, *parts)

    async def ask(
        self,
        prompt: str,
        sampling: SamplingConfig,
        *about: object,
        video: "SeenVideo | None" = None,
        schema: dict[str, Any] | None = None,
    ) -> Answer:
        """One request; `about` names it among the clip's requests and makes its seed."""
        answer = await self._engine.generate(
            Request(
                prompt=prompt,
                sampling=sampling,
                seed=self.seed(*about),
                video=video.video if video else None,
                json_schema=schema,
            )
        )
        key = video.plan_key if video else None
        if video:
            self._video_tokens[key] = video.num_tokens
        self._usages[key].append(answer.usage)
        return answer

    def calls(self) -> tuple[Calls, ...]:
        """What was asked so far, one row per frame plan."""
        return tuple(
            Calls(
                role=self._role,
                plan_key=key,
                video_tokens=self._video_tokens[key],
                requests=len(usages),
                prompt_tokens=sum(usage.prompt_tokens for usage in usages),
                completion_tokens=sum(usage.completion_tokens for usage in usages),
                cached_tokens=sum(usage.cached_tokens for usage in usages),
                least_cached_after_first=_least_after_first([usage.cached_tokens for usage in usages]),
            )
            for key, usages in self._usages.items()
        )


def _least_after_first(cached: Iterable[int]) -> int | None:
    # Answers return in any order; the request that filled the cache is the one with the fewest cached tokens.
    return next(iter(sorted(cached)[1:]), None)


async def together(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Their results, in order. When one fails the others are given up first: none goes on behind a failed clip."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class SeenVideo:
    """A clip's frames under one plan, with what the accounts need."""

    def __init__(self, video: Video, plan_key: str, num_tokens: int) -> None:
        self.video = video
        self.plan_key = plan_key
        self.num_tokens = num_tokens


def clean(text: str) -> str:
    """`text` on one line: white space collapsed, control characters gone."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clean_if_text(value: object) -> str:
    """`clean`, of what should be a text in a model's JSON; empty for anything else."""
    return clean(value) if isinstance(value, str) else ""


def parse_json(text: str) -> dict[str, Any] | None:
    """The JSON object in a model's answer, also inside a Markdown fence; None when there is none."""
    match = re.search(r"\{.*\}", text, re.DOTALL)
    if match is None:
        return None
    try:
        value = json.loads(match[0], strict=False)  # grammars let control characters through
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or nested without end
        return None
    return value if isinstance(value, dict) else None
