import pytest

from tests.serve.chats import chat, data_url, frames_message, make_config, user, video_message
from videopasta.config import FpsPlan, UniformPlan
from videopasta.engine import Turn
from videopasta.serve.chat import ChatRequest
from videopasta.serve.errors import ApiError
from videopasta.serve.reading import Question, SentFrames, SentVideo, UriVideo, read_chat


def read(body: dict, **settings) -> Question:
    return read_chat(ChatRequest.model_validate(body), make_config(**settings), seed=5)


def refusal(body: dict, **settings) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body, **settings)
    return caught.value


def test_question_without_anything_else_has_the_services_defaults():
    """Greedy, its longest answer, its plan; the seed that was drawn."""
    question = read(chat())
    assert question.request.turns() == [(Turn("user", "What moves?"), False)]
    assert (question.request.sampling.temperature, question.request.sampling.max_tokens) == (0.0, 256)
    assert (question.request.seed, question.source, question.plan) == (5, None, UniformPlan())


def test_what_a_client_sets_is_heeded():
    """Sampling and seed."""
    request = read(chat(temperature=0.7, top_p=0.5, max_completion_tokens=9, seed=3)).request
    assert request.sampling.model_dump() == {"temperature": 0.7, "top_p": 0.5, "max_tokens": 9}
    assert request.seed == 3


def test_a_conversation_keeps_the_place_of_its_video():
    """The video of the first question is in the history; the last question is the prompt."""
    said = {"role": "assistant", "content": "The ball."}
    body = chat({"role": "developer", "content": "Be short."}, video_message("/v/a.mp4"), said, user("Where to?"))
    question = read(body)
    assert question.source == UriVideo("/v/a.mp4")
    assert question.request.history == (
        Turn("system", "Be short."), Turn("user", "What moves?"), Turn("assistant", "The ball."),
    )  # fmt: skip
    assert (question.request.prompt, question.request.video_turn) == ("Where to?", 1)
    assert read(chat(video_message("/v/a.mp4"))).request.video_turn is None


def test_videos_come_as_address_file_or_frames():
    """Each says its source; options say how it is seen."""
    assert read(chat(video_message(data_url(b"abc")))).source == SentVideo(b"abc")
    frames = frames_message([data_url(b"1", "image/png"), data_url(b"2", "image/jpeg")])
    question = read(chat(frames, media_io_kwargs={"video": {"fps": 0.5}}))
    assert question.source == SentFrames((b"1", b"2"), 0.5)
    seen = read(chat(video_message("/a"), media_io_kwargs={"video": {"num_frames": 8}}), limits={"num_frames": 9})
    assert seen.plan == UniformPlan(num_frames=8)
    seen = read(chat(video_message("/a"), media_io_kwargs={"video": {"fps": 2}}), limits={"num_frames": 9})
    assert seen.plan == FpsPlan(fps=2, max_frames=8)


@pytest.mark.parametrize(
    ("body", "words", "param"),
    [
        (chat(max_tokens=2000), "over this service's 1024", "max_tokens"),
        (chat(max_tokens=2, max_completion_tokens=2), "give one", "max_tokens"),
        (chat(user("a"), {"role": "assistant", "content": "b"}), "not a user's", "messages"),
        (chat(user("a"), {"role": "system", "content": "b"}, user("c")), "stands first", "messages[1]"),
        (chat(video_message("/a"), video_message("/b")), "a second video", "messages[1]"),
        (chat(video_message("/a") | {"role": "assistant"}, user("c")), "in a user's message", "messages[0]"),
        (chat(user(video_message("/a")["content"] * 2)), "more than one", "messages[0]"),
        (chat(video_message("a" * 5000)), "an address of 5000 characters", "messages[0]"),
        (chat(video_message("data:image/png;base64,QQ==")), "expected data:video/", "messages[0]"),
        (chat(video_message("data:video/mp4;base64,?")), "not base64", "messages[0]"),
        (chat(frames_message([data_url(b"1", "image/png")] * 2)), "at which rate", "media_io_kwargs"),
        (chat(video_message("/a"), media_io_kwargs={"video": {"num_frames": 66}}), "at most 64", "media_io_kwargs"),
        (chat(video_message("/a"), media_io_kwargs={"video": {"num_frames": 5}}), "even", "media_io_kwargs"),
        (chat(video_message("/a"), media_io_kwargs={"video": {"num_frames": 4, "fps": 1}}), "give one",
         "media_io_kwargs"),
        (chat(frames_message([data_url(b"1", "image/png")] * 3), media_io_kwargs={"video": {"fps": 1}}), "3 frames",
         "messages[0]"),
        (chat(frames_message(["https://a/b.png"] * 2), media_io_kwargs={"video": {"fps": 1}}), "expected data:image/",
         "messages[0]"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused_with_its_parameter(body: dict, words: str, param: str):
    """400, the reason, and where."""
    error = refusal(body)
    assert error.status == 400
    assert words in str(error)
    assert error.body.error.param == param


def test_another_model_is_not_found():
    """As OpenAI says it."""
    error = refusal(chat(model="gpt-5"))
    assert (error.status, error.body.error.code) == (404, "model_not_found")
    assert read(chat(model="ours"), name="ours").request.prompt == "What moves?"
