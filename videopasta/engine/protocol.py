"""What every engine takes and gives: requests in, answers out, both frozen values.

In: a prompt, optionally one decoded video, how to sample, optionally a JSON schema. Out: the text, the tokens with
their log-probs when asked for, and the engine's own token and cache counts. An engine keeps no state that an
answer depends on: the same request gives the same answer, whatever else is in flight (on GPU up to the kernels'
rounding).
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from videopasta.config import SamplingConfig


@dataclass(frozen=True, eq=False)
class Video:
    """A decoded clip as a model sees it."""

    frames: np.ndarray
    """uint8, (T frames, H, W, 3), RGB; T even, H and W multiples of the model's patch factor (28)."""
    sampled_fps: float
    """Frames per second of video time in `frames`: what M-RoPE's time axis is built from."""
    cache_key: str
    """Equal keys mean equal pixels: video hash and frame plan. Engines reuse the encoded prefix by it."""


@dataclass(frozen=True)
class Turn:
    """What was said before a request's prompt."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Request:
    """One question to a model."""

    prompt: str
    """The user's turn. The engine applies the model's chat template; the video stands before the text."""
    sampling: SamplingConfig
    seed: int
    video: Video | None = None
    history: tuple[Turn, ...] = ()
    """The turns before it."""
    video_turn: int | None = None
    """The turn of `history` in which the video stands; none: in the prompt's."""
    json_schema: dict[str, Any] | None = None
    """When given, the text is JSON of this schema (if `finish_reason` is "stop")."""
    top_logprobs: int | None = None
    """None: no log-probs. n >= 0: those of the answer's tokens, and of the n likeliest at each place."""
    choices: tuple[str, ...] = ()
    """When given, the answer tells how likely it was to begin with each of these, one token each: letters of options.
    Not together with `top_logprobs`."""

    def __post_init__(self) -> None:
        if self.choices and self.top_logprobs is not None:
            raise ValueError("choices and top_logprobs in one request; ask for one of them")

    def turns(self) -> "list[tuple[Turn, bool]]":
        """History and prompt, and whether the video stands before their text."""
        turns = [*self.history, Turn("user", self.prompt)]
        place = len(self.history) if self.video_turn is None else self.video_turn
        return [(turn, self.video is not None and index == place) for index, turn in enumerate(turns)]


@dataclass(frozen=True)
class Token:
    """One token of an answer."""

    text: str
    logprob: float
    """Natural logarithm, of the distribution before temperature and top-p."""
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at this place with their log-probs, best first."""
    id: int | None = None
    """None when the endpoint does not tell."""


@dataclass(frozen=True)
class Usage:
    """Token counts as the engine reports them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens taken from the prefix cache; 0 when the endpoint does not tell."""


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    finish_reason: str
    """"stop", or "length" when `max_tokens` cut the answer."""
    usage: Usage
    tokens: tuple[Token, ...] = ()
    """Empty unless log-probs were asked for."""
    choice_logprobs: tuple[float | None, ...] = ()
    """Of the request's `choices`, natural logarithms before temperature; None where the endpoint does not tell."""
    prompt_token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    """The whole prompt, video placeholders expanded; None when the endpoint does not tell."""


@dataclass(frozen=True)
class ModelId:
    """Which weights answered."""

    name: str
    revision: str | None
    """Commit on the hub, or `sha256:...` over a local folder; None when the endpoint does not tell."""


class RequestError(Exception):
    """A request that is not answered, and asking again would not help: its row is quarantined, the run goes on."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        """`prompt_too_long`, `engine_refused` or `endpoint_failed`; of a host, `engine_died` or `deadline`."""
        self.detail = detail


class EngineDead(Exception):
    """The engine is gone, and nothing it is asked will be answered: start another one."""


class Engine(Protocol):
    """A model that answers. Any number of `generate` calls may be in flight; the engine batches them."""

    model_id: ModelId

    async def generate(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            RequestError: the request itself is at fault.
            EngineDead: the engine died of this request or an earlier one.
        """
        ...

    def close(self) -> None:
        """Free the model. No call may be in flight."""
        ...
