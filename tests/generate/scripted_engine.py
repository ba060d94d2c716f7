"""A stand-in for the engine only: answers by rule, at once, in memory.

What runs on it - stages, prompts, schemas, seeds, accounts - is the real thing. It says nothing about models;
that the real engines keep the protocol is checked in tests/engine.
"""

import asyncio
import json
import random
from collections.abc import Callable

from videopasta.engine import Answer, ModelId, Request, RequestError, Usage

CACHED_TOKENS = 5


def kind_of(request: Request) -> str:
    """What a request asks for: `queries`, `rewrite`, `vote` or `text`."""
    properties = (request.json_schema or {}).get("properties", {})
    names = {"queries": "queries", "query": "rewrite", "genuine": "vote"}
    return next((names[name] for name in properties if name in names), "text")


def good_answer(request: Request) -> str:
    """An answer of the form asked for, different for each seed, that passes every guard and the judge."""
    kind = kind_of(request)
    if kind == "queries":
        assert request.json_schema is not None
        count = request.json_schema["properties"]["queries"]["minItems"]
        return json.dumps({"queries": [f"What happens at {request.seed} number {n}?" for n in range(count)]})
    if kind == "rewrite":
        return json.dumps({"query": f"What never happens at {request.seed}?"})
    if kind == "vote":
        questions = ("genuine", "targeted", "distinct", "preferred_ok")
        return json.dumps({**dict.fromkeys(questions, True), "confidence": 90, "reason": f"vote {request.seed}"})
    return f"The answer {request.seed} has ten words, neither more nor less."


class ScriptedEngine:
    """Implements `videopasta.engine.Engine`; remembers its requests."""

    def __init__(
        self,
        *,
        answer: Callable[[Request], str | RequestError] = good_answer,
        order: int = 0,
        name: str = "scripted",
        revision: str | None = "r1",
    ) -> None:
        self.model_id = ModelId(name, revision)
        self.requests: list[Request] = []
        """In the order in which they came."""
        self._answer = answer
        self._order = order
        self._seen: set[str] = set()

    async def generate(self, request: Request) -> Answer:
        """Answer after a few turns of the event loop; how many depends on `order` and the request."""
        self.requests.append(request)
        key = request.video.cache_key if request.video else ""
        cached_tokens = CACHED_TOKENS if key in self._seen else 0
        self._seen.add(key)
        for _ in range(random.Random(f"{self._order} {request.seed}").randrange(9)):
            await asyncio.sleep(0)
        text = self._answer(request)
        if isinstance(text, RequestError):
            raise text
        return Answer(text, "stop", Usage(len(request.prompt.split()), len(text.split()), cached_tokens))

    def close(self) -> None:
        """Nothing to free."""

    def asked(self, kind: str) -> list[Request]:
        """The requests of one kind."""
        return [request for request in self.requests if kind_of(request) == kind]
