"""One question about one video, answered by a model as it is written: a look at what a training made.

The video is seen as in generation and training: decoded exactly, positions as vLLM has them.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Literal

from videopasta.config import DecodeConfig, SamplingConfig, UniformPlan, VllmModel
from videopasta.engine.models import check_model, local_path
from videopasta.engine.protocol import Request, Video
from videopasta.errors import UserError
from videopasta.video import ClipRequest, DecodeWorker, VideoError

Backend = Literal["vllm", "transformers"]


def look(uri: str, num_frames: int, config: DecodeConfig) -> Video:
    """A video's frames, spread evenly.

    Raises:
        UserError: it cannot be used, and why.
    """
    worker = DecodeWorker(config)
    try:
        clip = worker.decode(ClipRequest(uri, None, None, {"seen": UniformPlan(num_frames=num_frames)}, config))
    except VideoError as error:
        raise UserError(f"--video {uri}: {error}") from error
    finally:
        worker.close()
    plan = clip.plans["seen"]
    return Video(clip.frames[plan.key], plan.sampled_fps, f"{clip.video_sha256}-{plan.key}")


def check(model: VllmModel) -> VllmModel:
    """`model` with its longest prompt cut to what it can take.

    Raises:
        UserError: it is no model that sees videos, or is not to be had.
    """
    from transformers import AutoConfig

    check_model(model.model, model.revision)
    config = AutoConfig.from_pretrained(local_path(model.model), revision=model.revision, trust_remote_code=False)
    if config.model_type != "qwen2_5_vl":
        raise UserError(f"--model {model.model}: a {config.model_type}; give a Qwen2.5-VL")
    longest = min(model.max_model_len, config.text_config.max_position_embeddings)
    return model.model_copy(update={"max_model_len": longest})


def answer(model: VllmModel, video: Video, prompt: str, sampling: SamplingConfig, backend: Backend) -> Iterator[str]:
    """What `model` says, in parts.

    Raises:
        UserError: no such model.
    """
    return (
        _with_vllm(model, video, prompt, sampling)
        if backend == "vllm"
        else _with_transformers(model, video, prompt, sampling)
    )


def _with_vllm(model: VllmModel, video: Video, prompt: str, sampling: SamplingConfig) -> Iterator[str]:
    from videopasta.engine.vllm import VllmEngine

    engine = VllmEngine(model, video=True)
    loop = asyncio.new_event_loop()
    try:
        parts = engine.stream(Request(prompt, sampling, 0, video))
        while isinstance(part := loop.run_until_complete(anext(parts)), str):
            yield part
    finally:
        engine.close()
        loop.close()


def _with_transformers(model: VllmModel, video: Video, prompt: str, sampling: SamplingConfig) -> Iterator[str]:
    import torch
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, TextIteratorStreamer

    from videopasta.dpo.rope import use_engine_positions

    use_engine_positions()
    path = local_path(model.model)
    loaded: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        path, revision=model.revision or "main", dtype=model.dtype, use_safetensors=True
    )
    loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    processor: Any = AutoProcessor.from_pretrained(path, revision=model.revision, trust_remote_code=False)
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": prompt}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    inputs = processor(
        text=[text], videos=[video.frames], do_sample_frames=False, do_resize=False, return_tensors="pt"
    ).to(loaded.device)
    # The processor would guess the time between frames from a file it does not see.
    inputs["second_per_grid_ts"] = torch.tensor([2 / video.sampled_fps])
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    sampled = {"temperature": sampling.temperature, "top_p": sampling.top_p} if sampling.temperature else {}
    torch.manual_seed(0)
    arguments = {
        **inputs, **sampled, "streamer": streamer, "max_new_tokens": sampling.max_tokens, "do_sample": bool(sampled),
    }  # fmt: skip
    failed: list[BaseException] = []

    def write() -> None:
        try:
            loaded.generate(**arguments)
        except BaseException as error:
            failed.append(error)
            streamer.end()  # or who reads would wait for ever

    writing = threading.Thread(target=write)
    writing.start()
    yield from streamer
    writing.join()
    if failed:
        raise failed[0]
