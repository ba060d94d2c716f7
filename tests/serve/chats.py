"""Chat requests, and a service without Ray whose model is scripted."""

import base64
import io
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np
from PIL import Image

from videopasta.config import ServeConfig
from videopasta.engine import Answer, RequestError, Usage
from videopasta.serve.app import Said, Service, make_app
from videopasta.serve.limits import Room
from videopasta.serve.reading import Question
from videopasta.serve.tokens import Tokens
from videopasta.telemetry import Sample

TOKEN, OTHER_TOKEN = "t" * 32, "o" * 32
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


def make_config(**settings: Any) -> ServeConfig:
    return ServeConfig.model_validate({"model": {"model": "tiny:vl"}, **settings})


def data_url(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image_url(frame: np.ndarray, form: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, form)
    return data_url(buffer.getvalue(), f"image/{form.lower()}")


def video_message(url: str, text: str = "What moves?") -> dict[str, Any]:
    return user([{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": text}])


def frames_message(urls: list[str], text: str = "What moves?") -> dict[str, Any]:
    return user([*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": text}])


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def chat(*messages: dict[str, Any], **others: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"model": "tiny:vl", "messages": list(messages or [user("What moves?")]), **others}


class Scripted:
    """Says `parts`, and then how it ends."""

    def __init__(self, parts: tuple[str, ...] = ("The ball", " moves."), end: Said | None = None) -> None:
        self.questions: list[Question] = []
        self.was_left = False
        self._parts = parts
        whole = Answer("".join(parts).strip(), "stop", Usage(prompt_tokens=7, completion_tokens=4, cached_tokens=2))
        self._end: Said = end or whole

    async def answer(self, question: Question) -> AsyncGenerator[Said]:
        self.questions.append(question)
        try:
            for part in self._parts:
                yield part
            yield self._end
        finally:
            self.was_left = True

    async def is_ready(self) -> bool:
        return not isinstance(self._end, RequestError)

    async def metrics(self) -> str | None:
        return None


def make_service(
    backend: Scripted | None = None, *, clock: Callable[[], float] = lambda: 0.0, count=None, **settings: Any
):
    """The application around a scripted model."""
    config = make_config(**settings)
    counted: list[Sample] = [] if count is None else count
    service = Service(
        config,
        Tokens([TOKEN, OTHER_TOKEN]),
        backend or Scripted(),
        Room(config.limits.in_flight),
        counted.append,
        clock=clock,
    )
    return make_app(service)
