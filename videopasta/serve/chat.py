"""OpenAI's chat completions, as far as a model that sees one video can answer them. What it cannot is refused.

A video is a part of a user's message: `video_url` as vLLM has it (an address, or `data:video/...;base64,`), or several
`image_url` with `data:image/...;base64,`, which are the frames of one video. `media_io_kwargs.video`, vLLM's too, says
how it is sampled, or at which rate its frames were.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

_NEUTRAL: dict[str, Any] = {
    "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "stop": [], "store": False,
    "response_format": {"type": "text"}, "logit_bias": {}, "modalities": ["text"], "service_tier": "auto",
}  # fmt: skip
"""What clients send to say nothing."""


class Given(BaseModel):
    """What a client sends: a parameter that would not be heeded is refused, not passed over; null is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _without_what_says_nothing(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {
            name: value
            for name, value in given.items()
            if value is not None and not (name in _NEUTRAL and value == _NEUTRAL[name])
        }


def _is_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON's escapes can name half a character
        raise ValueError(f"no text: {error.reason}") from None
    return text


Text = Annotated[str, AfterValidator(_is_text)]
"""What can be encoded: tokenizers, logs and answers take nothing else."""
MAX_URI_CHARS = 4096
"""Of an address: a longer one is a file that came along in a wrong shape, and errors repeat addresses."""
Uri = Annotated[str, Field(max_length=MAX_URI_CHARS), AfterValidator(_is_text)]


class TextPart(Given):
    """Words."""

    type: Literal["text"]
    text: Text


class VideoUrl(Given):
    """Of `VideoPart`."""

    url: Text
    """A path or `file://` below the service's roots, `https://` of one of its hosts, or `data:video/mp4;base64,...`."""


class VideoPart(Given):
    """A video."""

    type: Literal["video_url"]
    video_url: VideoUrl


class ImageUrl(Given):
    """Of `FramePart`."""

    url: Text
    """`data:image/jpeg;base64,...`, or png or webp."""
    detail: Literal["auto"] = "auto"
    """The size is chosen by the service, as for videos."""


class FramePart(Given):
    """A frame of a video whose frames are sent one by one."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | VideoPart | FramePart, Field(discriminator="type")]
Content = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[Part], Field(min_length=1), Tag("parts")],
    Discriminator(lambda content: "parts" if isinstance(content, list) else "text"),
]


class Message(Given):
    """A turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """`system` and `developer` are one, and stand first."""
    content: Content
    """The video stands before the words of its message, wherever it is among the parts."""


class VideoOptions(Given):
    """How the video is looked at."""

    num_frames: int | None = Field(default=None, ge=2)
    """So many frames, an even number, spread evenly."""
    fps: float | None = Field(default=None, ge=0.001, le=1000)
    """Of a video: so many frames a second, at most the service's limit, then spread evenly. Of frames that are sent: at
    which rate they were taken, without which the model would not know the time between them."""


class MediaOptions(Given):
    """By kind of media."""

    video: VideoOptions = VideoOptions()


class StreamOptions(Given):
    """Of `stream`."""

    include_usage: bool = False
    """A last chunk counts the tokens."""


class ChatRequest(Given):
    """The body of `POST /v1/chat/completions`. Other parameters of OpenAI's are refused: tools, several choices, stop
    words, penalties, log-probabilities, response formats.
    """

    model: Text
    messages: list[Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    """The older name of `max_completion_tokens`."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """None: another one each time, where the temperature is above 0."""
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] = 1
    user: str | None = None
    """Not heeded; nothing is kept of a request."""
    media_io_kwargs: MediaOptions = MediaOptions()


class PromptTokensDetails(BaseModel):
    """Of `CompletionUsage`."""

    cached_tokens: int


class CompletionUsage(BaseModel):
    """Tokens, as the engine counts them."""

    prompt_tokens: int
    """The video's among them."""
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AnswerMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: AnswerMessage
    finish_reason: str
    """`stop`, or `length` where `max_tokens` cut it."""
    logprobs: None = None


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage


class Delta(BaseModel):
    """What comes next."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _of_what_comes(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if value is not None}


class ChunkChoice(BaseModel):
    """Of the one answer."""

    index: Literal[0] = 0
    delta: Delta
    finish_reason: str | None = None


class ChatCompletionChunk(BaseModel):
    """A part of the answer, as a server-sent event."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "videopasta"
    max_model_len: int
    """Longest prompt and answer, in tokens; as vLLM tells it."""


class ModelList(BaseModel):
    """The body of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def event(chunk: BaseModel | str) -> str:
    """A server-sent event."""
    data: Any = chunk if isinstance(chunk, str) else chunk.model_dump_json()
    return f"data: {data}\n\n"
