"""From a chat request to a question: what is asked, of which video, seen how. Pure.

In: a `ChatRequest` and the service's configuration. Out: a `Question`, or an `ApiError` that says which parameter is at
fault. Opens nothing: addresses are judged, and videos decoded, by `looking.py`.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from videopasta.config import FpsPlan, PlanConfig, SamplingConfig, ServeConfig, UniformPlan
from videopasta.engine import Request, Turn
from videopasta.serve.chat import MAX_URI_CHARS, ChatRequest, FramePart, Message, TextPart, VideoOptions, VideoPart
from videopasta.serve.errors import ApiError

_DATA = re.compile(r"data:(?P<kind>\w+)/[\w.+-]+;base64,")


@dataclass(frozen=True)
class UriVideo:
    """A video that lies elsewhere."""

    uri: str


@dataclass(frozen=True)
class SentVideo:
    """A video file that came with the request."""

    content: bytes


@dataclass(frozen=True)
class SentFrames:
    """Frames of a video that came with the request, as image files."""

    images: tuple[bytes, ...]
    fps: float


VideoSource = UriVideo | SentVideo | SentFrames


@dataclass(frozen=True)
class Question:
    """What is asked."""

    request: Request
    """Without its video."""
    source: VideoSource | None
    plan: PlanConfig


def read_chat(chat: ChatRequest, config: ServeConfig, *, seed: int) -> Question:
    """What `chat` asks.

    Args:
        chat: the request.
        config: of the service.
        seed: where the request has none.

    Raises:
        ApiError: it asks for what is not served, or for too much.
    """
    if chat.model != config.served_name:
        raise ApiError(404, f"no model {chat.model!r}; there is {config.served_name!r}", code="model_not_found")
    if chat.stream_options is not None and not chat.stream:
        raise ApiError(400, "stream_options is of stream: true", param="stream_options")
    turns, source, place = _read_messages(chat.messages, chat.media_io_kwargs.video, config.limits.num_frames)
    request = Request(
        prompt=turns[-1].text,
        sampling=_sampling(chat, config),
        seed=seed if chat.seed is None else chat.seed,
        history=tuple(turns[:-1]),
        video_turn=place if place is not None and place < len(turns) - 1 else None,
    )
    return Question(request, source, _plan(chat.media_io_kwargs.video, config))


def _sampling(chat: ChatRequest, config: ServeConfig) -> SamplingConfig:
    if chat.max_tokens is not None and chat.max_completion_tokens is not None:
        raise ApiError(400, "max_tokens and max_completion_tokens are one; give one of them", param="max_tokens")
    given = {
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "max_tokens": chat.max_completion_tokens or chat.max_tokens,
    }
    sampling = config.sampling.model_copy(update={name: value for name, value in given.items() if value is not None})
    if sampling.max_tokens > config.limits.max_tokens:
        raise ApiError(
            400,
            f"max_tokens={sampling.max_tokens} is over this service's {config.limits.max_tokens}",
            param="max_tokens",
        )
    return sampling


def _plan(options: VideoOptions, config: ServeConfig) -> PlanConfig:
    limit = config.limits.num_frames
    if options.num_frames is not None:
        if options.fps is not None:
            raise ApiError(400, "num_frames and fps contradict each other; give one", param="media_io_kwargs")
        if options.num_frames > limit or options.num_frames % 2:
            raise ApiError(
                400,
                f"num_frames={options.num_frames}: give an even number, at most {limit}; the model merges frames in "
                "pairs",
                param="media_io_kwargs",
            )
        return UniformPlan(num_frames=options.num_frames)
    if options.fps is not None:
        return FpsPlan(fps=options.fps, max_frames=limit - limit % 2)
    return config.plan


def _read_messages(
    messages: list[Message], options: VideoOptions, max_frames: int
) -> tuple[list[Turn], VideoSource | None, int | None]:
    """The turns, the video among them, and in which turn it stands."""
    turns: list[Turn] = []
    source: VideoSource | None = None
    place: int | None = None
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = "system" if message.role == "developer" else message.role
        if role == "system" and index:
            raise ApiError(400, f"{where}: a {message.role} message stands first", param=where)
        text, found = _read_content(message, where, options, max_frames)
        if found is not None:
            if role != "user":
                raise ApiError(400, f"{where}: a video stands in a user's message", param=where)
            if source is not None:
                raise ApiError(400, f"{where}: a second video; the model sees one", param=where)
            source, place = found, index
        turns.append(Turn(role, text))
    if turns[-1].role != "user":
        raise ApiError(400, "the last message is not a user's, so there is nothing to answer", param="messages")
    return turns, source, place


def _read_content(
    message: Message, where: str, options: VideoOptions, max_frames: int
) -> tuple[str, VideoSource | None]:
    if isinstance(message.content, str):
        return message.content, None
    text = "\n".join(part.text for part in message.content if isinstance(part, TextPart))
    videos = [part for part in message.content if isinstance(part, VideoPart)]
    frames = [part for part in message.content if isinstance(part, FramePart)]
    if len(videos) + bool(frames) > 1:
        raise ApiError(400, f"{where}: more than one video; the model sees one", param=where)
    if videos:
        return text, _read_video(videos[0].video_url.url, where)
    if frames:
        return text, _read_frames(frames, where, options, max_frames)
    return text, None


def _read_video(url: str, where: str) -> VideoSource:
    if not url.startswith("data:"):
        if len(url) > MAX_URI_CHARS:
            raise ApiError(400, f"{where}: an address of {len(url)} characters, over {MAX_URI_CHARS}", param=where)
        return UriVideo(url)
    return SentVideo(_data(url, "video", where))


def _read_frames(frames: list[FramePart], where: str, options: VideoOptions, max_frames: int) -> SentFrames:
    if options.fps is None:
        raise ApiError(
            400,
            f'{where}: images are the frames of one video; say at which rate they were taken: "media_io_kwargs": '
            '{"video": {"fps": 1.0}}',
            param="media_io_kwargs",
        )
    if options.num_frames is not None:
        raise ApiError(400, "num_frames: of frames that are sent, all are seen", param="media_io_kwargs")
    if len(frames) > max_frames or len(frames) % 2:
        raise ApiError(
            400,
            f"{where}: {len(frames)} frames; give an even number, at most {max_frames}: the model merges them in pairs",
            param=where,
        )
    return SentFrames(tuple(_data(frame.image_url.url, "image", where) for frame in frames), options.fps)


def _data(url: str, kind: str, where: str) -> bytes:
    head = _DATA.match(url)
    if head is None or head["kind"] != kind:
        raise ApiError(400, f"{where}: expected data:{kind}/...;base64,...", param=where)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except binascii.Error as error:
        raise ApiError(400, f"{where}: not base64 ({error})", param=where) from None
