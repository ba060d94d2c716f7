"""Any OpenAI-compatible endpoint as an engine: OpenAI's own, a vLLM or SGLang server, a gateway.

Retries with exponential back-off and their limits are the `openai` client's; the rate limit is aiolimiter's.
"""

import asyncio
import base64
import io
import json
from fractions import Fraction
from typing import Any

import aiolimiter
import av
import openai
from PIL import Image

from videopasta.config import OpenAIModel
from videopasta.credentials import endpoint_key, without
from videopasta.engine.protocol import Answer, ModelId, Request, RequestError, Token, Usage, Video

JPEG_QUALITY = 95
MAX_TOP_LOGPROBS = 20
"""The most that OpenAI's protocol tells of."""
NUM_ENCODED_VIDEOS = 8
"""Encoded videos kept per engine: a clip's requests are in flight together, so few clips are waited for at once."""


class OpenAIEngine:
    """Talks to the endpoint of `config`."""

    def __init__(self, config: OpenAIModel) -> None:
        """Connects at the first request. A missing key is sent as "none": local servers ask for none."""
        self._config, self._key = config, endpoint_key(config)
        self.model_id = ModelId(config.model, config.revision)
        self._client = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=self._key.get_secret_value(),
            max_retries=config.max_retries,
            timeout=config.timeout_s,
        )
        # One token a minute at least, and no burst beyond a second's worth.
        per_second = config.requests_per_minute / 60
        self._limiter = aiolimiter.AsyncLimiter(max(1.0, per_second), max(1.0, per_second) / per_second)
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._encoded: dict[str, asyncio.Task[list[dict[str, Any]]]] = {}

    async def generate(self, request: Request) -> Answer:
        """See `Engine.generate`."""
        messages: list[dict[str, Any]] = []
        for turn, has_video in request.turns():
            content: list[dict[str, Any]] = []
            if has_video and request.video is not None:
                content += await asyncio.shield(self._encode_once(request.video))
            content.append({"type": "text", "text": turn.text})
            messages.append({"role": turn.role, "content": content})
        arguments: dict[str, Any] = {}
        if request.json_schema is not None:
            schema = {"name": "answer", "schema": request.json_schema, "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.top_logprobs is not None:
            arguments |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if request.choices:
            arguments |= {"logprobs": True, "top_logprobs": MAX_TOP_LOGPROBS}
        try:
            async with self._slots, self._limiter:
                completion = await self._client.chat.completions.create(
                    model=self._config.model,
                    messages=messages,  # type: ignore[arg-type]
                    temperature=request.sampling.temperature,
                    top_p=request.sampling.top_p,
                    max_tokens=request.sampling.max_tokens,
                    seed=request.seed,
                    **arguments,
                )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            error.args = (without(self._key, str(error)),)
            raise  # the key or the model's name is wrong: every row would fail
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            text = without(self._key, str(error))
            too_long = "context length" in text or "longer than the maximum" in text
            raise RequestError("prompt_too_long" if too_long else "engine_refused", text) from None
        except openai.APIError as error:
            retries = f"after {self._config.max_retries} retries"
            text = without(self._key, repr(error))
            raise RequestError("endpoint_failed", f"{self._config.base_url} {retries}: {text}") from None
        except UnicodeEncodeError as error:  # JSON can name half a character, and is not sent with it
            raise RequestError("engine_refused", f"the prompt is no text: {error.reason}") from None
        except json.JSONDecodeError as error:
            raise RequestError("endpoint_failed", f"{self._config.base_url}: the answer is not JSON: {error}") from None
        try:
            return _answer(completion, request)
        except (AttributeError, LookupError, TypeError):
            # The client looks at nothing: gateways answer 200 with an error of their own, proxies with a page.
            said = without(self._key, str(completion))[:300]
            raise RequestError(
                "endpoint_failed",
                f"{self._config.base_url}: no answer with a message and token counts (usage), but {said!r}",
            ) from None

    def _encode_once(self, video: Video) -> "asyncio.Task[list[dict[str, Any]]]":
        """All requests about a video send the same bytes: encoded once, and known to the server's prefix cache."""
        if video.cache_key not in self._encoded:
            encoding = asyncio.to_thread(encode_video, video, self._config.video_as)
            self._encoded[video.cache_key] = asyncio.create_task(encoding)
            if len(self._encoded) > NUM_ENCODED_VIDEOS:
                del self._encoded[next(iter(self._encoded))]
        return self._encoded[video.cache_key]

    def close(self) -> None:
        """See `Engine.close`. Sockets close with the process."""


def _answer(completion: Any, request: Request) -> Answer:
    choice, usage = completion.choices[0], completion.usage
    details = usage.prompt_tokens_details
    places = choice.logprobs.content if choice.logprobs else []
    first = {top.token.strip(): top.logprob for top in reversed(places[0].top_logprobs)} if places else {}
    return Answer(
        text=(choice.message.content or "").strip(),
        finish_reason=choice.finish_reason,
        usage=Usage(
            prompt_tokens=int(usage.prompt_tokens),
            completion_tokens=int(usage.completion_tokens),
            cached_tokens=(details.cached_tokens or 0) if details else 0,
        ),
        tokens=tuple(
            Token(place.token, place.logprob, tuple((top.token, top.logprob) for top in place.top_logprobs))
            for place in places
        )
        if request.top_logprobs is not None
        else (),
        choice_logprobs=tuple(first.get(text.strip()) for text in request.choices),
    )


def encode_video(video: Video, video_as: str) -> list[dict[str, Any]]:
    """`video` as content parts of a chat message: one JPEG a frame, or one inline MP4 that keeps time."""
    if video_as == "image_frames":
        return [
            {"type": "image_url", "image_url": {"url": _data_url("image/jpeg", _jpeg(frame))}} for frame in video.frames
        ]
    return [{"type": "video_url", "video_url": {"url": _data_url("video/mp4", _mp4(video))}}]


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _jpeg(frame: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _mp4(video: Video) -> bytes:
    """H.264 at the sampled frame rate, near-lossless (CRF 10).

    On one thread: with more, x264's bytes differ from call to call, and the server would know no video again.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        rate = Fraction(video.sampled_fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10", "preset": "veryfast", "threads": "1"})
        _, stream.height, stream.width, _ = video.frames.shape
        stream.pix_fmt = "yuv420p"
        for frame in video.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
