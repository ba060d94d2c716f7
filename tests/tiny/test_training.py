"""The fast training path computes what transformers computes, and a stopped training goes on as if it had not."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from videopasta.dpo.rope import use_engine_positions
from videopasta.tiny import render
from videopasta.tiny.learning import cases, forward, lessons, models
from videopasta.tiny.learning.lessons import Lesson
from videopasta.tiny.learning.packing import GRID, IGNORED, Packer
from videopasta.tiny.learning.samples import Sample, clip_sample, features_of, packed, picture_sample
from videopasta.tiny.learning.training import Muon, Phase, load_tokenizer, rate_at, train
from videopasta.tiny.world import NUM_TICKS, TICK_S, scenes


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return load_tokenizer(tmp_path_factory.mktemp("tiny") / "tokenizer")


def make_model(tokenizer):
    return models.make_vl(tokenizer, hidden=64, layers=2, vision_hidden=64, vision_depth=2)


@pytest.fixture
def model(tokenizer):
    return make_model(tokenizer).eval()


def make_sample(*, num_clips: int = 2, ticks=range(NUM_TICKS)) -> Sample:
    rng = random.Random(0)
    chosen = list(itertools.islice(scenes("train", seed=0), num_clips))
    return Sample(chosen, [ticks] * num_clips, [lessons.short_lessons(scene, rng)[:4] for scene in chosen])


def as_transformers_sees(sample: Sample, b: int, ids: torch.Tensor, tokenizer) -> dict[str, torch.Tensor]:
    """What transformers wants beside the token ids of clip `b`."""
    ticks = sample.ticks[b]
    frames = torch.from_numpy(render.frames(sample.scenes[b], list(ticks))).float()
    side = 2 * GRID
    return {
        "pixel_values_videos": forward.patches(frames.view(-1, 2, *frames.shape[1:])).flatten(0, 1),
        "video_grid_thw": torch.tensor([[len(ticks) // 2, side, side]]),
        "second_per_grid_ts": torch.tensor([TICK_S * (ticks[-1] - ticks[0]) / (len(ticks) - 1) * 2]),
        "mm_token_type_ids": 2 * (ids == tokenizer.convert_tokens_to_ids("<|video_pad|>")).long(),
    }


def test_every_word_of_the_world_is_one_token(tokenizer):
    """Sentences cost one token a word: long words, colours, shapes and places are whole."""
    for text in ("The triangle is partly in front of the purple ring at the start.", "First the scene changes."):
        assert len(tokenizer(text)["input_ids"]) == len(text.replace(".", " .").split())


def test_a_judge_starts_as_the_response_models_language_half(tokenizer, model):
    """To a text without a video both give the same logits."""
    ids = torch.tensor([tokenizer("Is the circle above or below the ring at the end?")["input_ids"]])
    with torch.no_grad():
        theirs = model(ids, mm_token_type_ids=torch.zeros_like(ids)).logits
        torch.testing.assert_close(models.make_judge(tokenizer, model)(ids).logits, theirs, atol=1e-5, rtol=1e-5)


def test_what_is_only_read_is_not_learned(tokenizer):
    """Of a lesson in several turns the answers alone have labels, and the end."""
    packer = Packer(tokenizer)
    lesson = Lesson("A scene.", "", (("\nA: The ring grows.", " right"), ("\nB: The ring shrinks.", " not")))
    batch = packer.pack([[lesson]], num_steps=0)
    taught = batch.labels[0, 0] != IGNORED
    assert (batch.labels[taught[None, None]] == batch.ids[taught[None, None]]).all()
    assert tokenizer.decode(batch.ids[0, 0][taught]) == " right not<|im_end|>"


def test_texts_survive_the_tokenizer(tokenizer):
    """What is taught is read back byte by byte, JSON and line breaks included."""
    rng = random.Random(0)
    for scene in itertools.islice(scenes("test", seed=0), 20):
        for lesson in (*lessons.long_lessons(scene, rng), cases.verdict(cases.case(scene, rng))):
            for text in (lesson.prompt, lesson.answer):
                assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_vision_tower_equals_transformers(model):
    """Many frame pairs at once, or each by transformers: the same features."""
    pixels = forward.patches(torch.rand(5, 2, render.MODEL_SIZE, render.MODEL_SIZE, 3) * 255)
    side = 2 * GRID
    theirs = model.model.visual(pixels.flatten(0, 1), grid_thw=torch.tensor([[1, side, side]] * 5)).pooler_output
    torch.testing.assert_close(forward.see(model.model.visual, pixels).flatten(0, 1), theirs, atol=1e-5, rtol=1e-5)


def test_patches_equal_the_video_processor():
    """Pixels are normalised and laid out as Qwen2.5-VL's processor does it."""
    from transformers import Qwen2VLVideoProcessor

    processor = Qwen2VLVideoProcessor(patch_size=14, merge_size=2, temporal_patch_size=2)
    frames = torch.randint(0, 256, (4, 84, 84, 3), dtype=torch.uint8)
    theirs = processor(
        videos=[frames.permute(0, 3, 1, 2)], do_resize=False, do_sample_frames=False, return_tensors="pt"
    )["pixel_values_videos"]
    ours = forward.patches(frames.float().view(2, 2, 84, 84, 3)).flatten(0, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ticks", [range(NUM_TICKS), tuple(range(0, NUM_TICKS, 4))], ids=["dense", "sparse"])
def test_a_packed_lesson_equals_a_conversation_of_its_own(model, tokenizer, ticks):
    """Log-probs of each answer are those of transformers on the whole chat, one lesson at a time."""
    use_engine_positions()
    packer = Packer(tokenizer)
    sample = make_sample(ticks=ticks)
    batch = packed(packer, sample)
    with torch.no_grad():
        features = features_of(model, sample, noise=0.0, generator=torch.Generator())
        hidden, _ = forward.read(model, batch, features)
        ours = torch.log_softmax(model.lm_head(hidden), dim=-1)
    for b in range(2):
        for n in range(4):
            length = int((batch.labels[b, n] != IGNORED).nonzero().max()) + 1
            ids = torch.cat([batch.prefix_ids, batch.ids[b, n, :length]])[None]
            with torch.no_grad():
                theirs = model(ids, **as_transformers_sees(sample, b, ids, tokenizer)).logits
            theirs = torch.log_softmax(theirs[0, len(batch.prefix_ids) :], dim=-1)
            torch.testing.assert_close(ours[b, n, :length], theirs, atol=1e-4, rtol=1e-4)


def test_the_prefix_is_the_chat_template(tokenizer):
    """The packed prefix and prompt are what the chat template makes of a video and a question."""
    packer = Packer(tokenizer)
    sample = make_sample(num_clips=1)
    batch = packed(packer, sample)
    lesson = sample.lessons[0][0]
    content = [{"type": "video"}, {"type": "text", "text": lessons.preamble() + lesson.prompt}]
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    ids, _, length = packer.encode(lesson)
    prompt = ids[:length]
    told = tokenizer.decode([*batch.prefix_ids.tolist(), *prompt])
    num_video = int(batch.is_video.sum())
    assert num_video == NUM_TICKS // 2 * GRID**2
    assert told.replace("<|video_pad|>" * num_video, "<|video_pad|>") == chat


def test_packed_decoding_equals_generate(model, tokenizer):
    """Greedy answers of many lessons at once are those of transformers' generate, one chat at a time."""
    use_engine_positions()
    sample = make_sample()
    batch = packed(Packer(tokenizer), sample)
    with torch.no_grad():
        features = features_of(model, sample, noise=0.0, generator=torch.Generator())
    ours = forward.decode(model, batch, features, max_tokens=6, end_id=-1)
    for b in range(2):
        for n in range(4):
            ids = torch.cat([batch.prefix_ids, batch.ids[b, n, : batch.prompt_lengths[b, n]]])[None]
            seen = as_transformers_sees(sample, b, ids, tokenizer)
            theirs = model.generate(ids, **seen, max_new_tokens=6, min_new_tokens=6, do_sample=False)
            assert ours[b, n].tolist() == theirs[0, ids.shape[1] :].tolist()


def make_phases(num_steps: int = 4) -> list[Phase]:
    def rest(name, draw):
        return Phase(name, num_steps, rate=1e-3, anneal=0.5, draw=draw, exam=())

    return [
        rest("pictures", lambda stream, rng: picture_sample(stream, rng, 2)),
        rest("clips", lambda stream, rng: clip_sample(stream, rng, 1)),
    ]


def test_a_stopped_training_goes_on_to_the_same_weights(tokenizer, tmp_path: Path):
    """Stopped in the second phase and started again: the weights of an unbroken training, bit for bit."""
    torch.set_num_threads(1)
    unbroken = make_model(tokenizer)
    train(unbroken, tokenizer, make_phases(), tmp_path / "unbroken", report_every=2)

    class Stopped(Exception):
        pass

    def stop_at_third(stream, rng):
        if calls.pop():
            raise Stopped
        return clip_sample(stream, rng, 1)

    calls = [True, False, False]
    phases = make_phases()
    stopping = [phases[0], replace(phases[1], draw=stop_at_third)]
    with pytest.raises(Stopped):
        train(make_model(tokenizer), tokenizer, stopping, tmp_path / "stopped", report_every=2)
    resumed = make_model(tokenizer)
    train(resumed, tokenizer, phases, tmp_path / "stopped", report_every=2)
    for (name, one), other in zip(unbroken.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_state_of_another_training_is_refused(tokenizer, tmp_path: Path):
    """Another seed or another length is no continuation."""
    from videopasta.errors import UserError

    model = make_model(tokenizer)
    train(model, tokenizer, make_phases(1), tmp_path, report_every=1)
    with pytest.raises(UserError, match="another training"):
        train(model, tokenizer, make_phases(1), tmp_path, seed=1, report_every=1)


def test_muon_is_momentum_made_orthogonal():
    """Five steps on a wide and a tall matrix are those of the published algorithm, written out in double precision."""
    lr, decay, momentum = 0.05, 0.01, 0.95
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 24), (8, 24), (24, 8)]
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    wanted = [weight.detach().double() for weight in weights]
    velocities = [torch.zeros_like(weight) for weight in wanted]
    ours = Muon(weights, lr=lr, weight_decay=decay, momentum=momentum)
    for _ in range(5):
        for k, weight in enumerate(weights):
            weight.grad = torch.randn(weight.shape, generator=generator)
            gradient = weight.grad.double()
            velocities[k] = momentum * velocities[k] + (1 - momentum) * gradient
            x = (1 - momentum) * gradient + momentum * velocities[k]
            x = x / torch.linalg.matrix_norm(x)
            for _ in range(5):
                x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
            wanted[k] = wanted[k] * (1 - lr * decay) - lr * 0.2 * 24**0.5 * x
        ours.step()
    for weight, value in zip(weights, wanted, strict=True):
        torch.testing.assert_close(weight.detach().double(), value, atol=1e-4, rtol=0)


def test_the_rate_rises_and_falls():
    """Warm-up from near nothing, full in the middle, a thirtieth at the end."""
    assert rate_at(0, 1000, 0.35) == pytest.approx(1 / 50)
    assert rate_at(500, 1000, 0.35) == 1
    assert rate_at(999, 1000, 0.35) == pytest.approx(1 / 30)
    assert rate_at(999, 1000, 0.0) == 1
