"""vLLM as an engine, on CPU and GPU: one process on CPU, vLLM's own engine processes on GPU.

On CPU `LLMEngine` is stepped by a thread of ours: vLLM's asynchronous front end starts two more processes, which
on two cores load for 23 s instead of 4 and answer the first request after 20 s instead of 4 (2 cores, 2026-11-23).
On GPU that front end (`AsyncLLM`) is what keeps tokenising off the GPU's critical path.
"""

import asyncio
import os
import queue
import sys
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from videopasta.config import VllmModel
from videopasta.engine.models import local_path, revision_of
from videopasta.engine.protocol import Answer, EngineDead, ModelId, Request, RequestError, Token, Usage
from videopasta.errors import UserError

# vLLM's CPU attention takes multiples of 32; the smaller the block, the closer a cached prefix ends to the video's.
CPU_BLOCK_SIZE = 32
# Prompt tokens processed in one step.
CPU_BATCHED_TOKENS = 8192
# The processed pixels of about 13 clips of 32 frames at 448x448, in float32.
MM_PROCESSOR_CACHE_GIB = 1


def has_gpu() -> bool:
    """Whether torch sees a CUDA device in this process."""
    import torch

    return torch.cuda.is_available()


class VllmEngine:
    """Hosts `config.model` in this process. One engine per process: vLLM keeps global state."""

    def __init__(self, config: VllmModel, *, video: bool, in_process: bool | None = None) -> None:
        """Load the model: seconds for a small one, minutes for a large one.

        Args:
            config: which model, and how.
            video: whether requests carry video. A text model is never asked for its video processor.
            in_process: step the engine in a thread of this process (default: on CPU), or leave it to vLLM's own
                processes (default: on GPU).

        Raises:
            UserError: the model's folder does not exist.
        """
        gpu = has_gpu()
        in_process = not gpu if in_process is None else in_process
        # vLLM reads these from the environment only, some of them at import.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if in_process else "1"
        if config.batch_invariant:
            if not gpu:
                raise UserError(
                    f"batch_invariant=true for {config.model}: these are CUDA kernels, and there is no GPU here; leave "
                    "it out, dtype: float32 repeats its answers on a CPU"
                )
            os.environ["VLLM_BATCH_INVARIANT"] = "1"
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING" if gpu else "ERROR")
        from vllm import AsyncEngineArgs

        path, stat_loggers = local_path(config.model), _stat_loggers()
        arguments: dict[str, Any] = {
            "model": path,
            "served_model_name": config.model,  # in its metrics
            "revision": config.revision,
            "dtype": config.dtype,
            "max_model_len": config.max_model_len,
            "trust_remote_code": config.trust_remote_code,
            "load_format": "safetensors",  # never a pickle
            "tensor_parallel_size": config.tensor_parallel_size,
            "max_num_seqs": config.max_num_seqs,
            "enforce_eager": config.enforce_eager,
            "enable_prefix_caching": True,
            "seed": 0,  # each request brings its own
            "disable_log_stats": in_process and not stat_loggers,
            # Without it a small model pads its JSON with blanks until max_tokens.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        }
        if gpu:
            arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
        else:
            arguments["block_size"] = CPU_BLOCK_SIZE
            # vLLM 0.32 rewinds a seeded request's generator after each chunk of a prompt but the last, which torch's
            # CPU generator cannot ("CPU Generator does not use offset"): whole prompts only.
            arguments["enable_chunked_prefill"] = False
            arguments["max_num_batched_tokens"] = max(config.max_model_len, CPU_BATCHED_TOKENS)
            arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * 2**30)
        if video:
            arguments["limit_mm_per_prompt"] = {"video": 1, "image": 0}
            arguments["mm_processor_cache_gb"] = MM_PROCESSOR_CACHE_GIB
        engine_args = AsyncEngineArgs(**arguments)
        driver = _InProcess if in_process else _OwnProcesses
        self._driver: _Driver = driver(engine_args, stat_loggers)
        model_config = self._driver.vllm_config.model_config
        self.model_id = ModelId(config.model, revision_of(path, config.revision, model_config.hf_config))
        self._tokenizer: Any = self._driver.tokenizer
        # Frames arrive at their final size; Qwen's processors would otherwise apply bounds of their own.
        is_qwen = model_config.hf_config.model_type.startswith("qwen")
        self._processor_kwargs = {"do_resize": False} if is_qwen else {}
        self._placeholder = _video_placeholder(model_config) if video else ""

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """What the chat template marks turns and videos with; in a text, it is read as that."""
        return tuple(token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special)

    async def generate(self, request: Request) -> Answer:
        """See `Engine.generate`."""
        choices = self._choice_ids(request)
        return _answer(await self._driver.generate(self._prompt(request), _params(request, choices)), request, choices)

    async def stream(self, request: Request) -> AsyncGenerator[str | Answer]:
        """The text in parts, as it is written, and in the end the answer of `generate`.

        Who leaves it early, or is cancelled, ends the request.

        Raises:
            RequestError: the request itself is at fault.
            EngineDead: the engine died of this request or an earlier one.
        """
        loop, parts = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        choices = self._choice_ids(request)

        def told(output: Any) -> None:
            loop.call_soon_threadsafe(parts.put_nowait, output.outputs[0].text)

        params = _params(request, choices)
        answering = asyncio.ensure_future(self._driver.generate(self._prompt(request), params, told))
        answering.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            said = 0
            while (text := await parts.get()) is not None:
                if len(text) > said:
                    yield text[said:]
                    said = len(text)
            output = await answering
            if rest := output.outputs[0].text[said:]:
                yield rest
            yield _answer(output, request, choices)
        finally:
            answering.cancel()

    def _choice_ids(self, request: Request) -> list[int]:
        """The token of each choice.

        Raises:
            RequestError: the model has none of its own for one of them.
        """
        ids = [self._tokenizer.encode(choice, add_special_tokens=False) for choice in request.choices]
        for choice, found in zip(request.choices, ids, strict=True):
            if len(found) != 1:
                raise RequestError("engine_refused", f"choice {choice!r} is {len(found)} tokens of this model, not one")
        return [found[0] for found in ids]

    def _prompt(self, request: Request) -> dict[str, Any]:
        turns = [
            {"role": turn.role, "content": f"{self._placeholder}{turn.text}" if has_video else turn.text}
            for turn, has_video in request.turns()
        ]
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON can name half a character; vLLM would die of it
            raise RequestError("engine_refused", f"the prompt is no text: {error.reason}") from None
        if request.video is None:
            return {"prompt": text}
        frames, fps = request.video.frames, request.video.sampled_fps
        # The sampled clip is presented as a video of its own, so that transformers and vLLM both derive exactly
        # `sampled_fps` (len(frames_indices) / total_num_frames * fps) and sample nothing themselves.
        metadata = {
            "fps": fps,
            "total_num_frames": len(frames),
            "duration": len(frames) / fps,
            "frames_indices": list(range(len(frames))),
            "video_backend": "videopasta",
            "do_sample_frames": False,
        }
        return {
            "prompt": text,
            "multi_modal_data": {"video": [(frames, metadata)]},
            "multi_modal_uuids": {"video": [request.video.cache_key]},
            "mm_processor_kwargs": self._processor_kwargs,
        }

    def close(self) -> None:
        """See `Engine.close`."""
        self._driver.close()


def _stat_loggers() -> list[Any]:
    """What shows vLLM's own metrics (`ray_vllm_...`): through Ray, where this process is one of Ray's."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return []
    from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

    return [RayPrometheusStatLogger]


def _params(request: Request, choices: Sequence[int] = ()) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    return SamplingParams(
        temperature=request.sampling.temperature,
        top_p=request.sampling.top_p,
        max_tokens=request.sampling.max_tokens,
        seed=request.seed,
        logprobs=request.top_logprobs,
        logprob_token_ids=list(choices) or None,
        structured_outputs=StructuredOutputsParams(json=request.json_schema) if request.json_schema else None,
    )


def _answer(output: Any, request: Request, choices: Sequence[int]) -> Answer:
    completion = output.outputs[0]
    tokens: tuple[Token, ...] = ()
    if request.top_logprobs is not None:
        tokens = tuple(
            _token(token_id, places) for token_id, places in zip(completion.token_ids, completion.logprobs, strict=True)
        )
    return Answer(
        text=completion.text.strip(),
        finish_reason=completion.finish_reason,
        usage=Usage(
            prompt_tokens=len(output.prompt_token_ids),
            completion_tokens=len(completion.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
        ),
        tokens=tokens,
        choice_logprobs=tuple(completion.logprobs[0][choice].logprob for choice in choices),
        prompt_token_ids=tuple(output.prompt_token_ids),
    )


def _token(token_id: int, places: dict[int, Any]) -> Token:
    ranked = sorted(places.values(), key=lambda place: -place.logprob)
    chosen = places[token_id]
    return Token(
        text=chosen.decoded_token or "",
        logprob=chosen.logprob,
        top=tuple((place.decoded_token or "", place.logprob) for place in ranked),
        id=token_id,
    )


def _video_placeholder(model_config: Any) -> str:
    from vllm.model_executor.model_loader import get_model_cls

    model: Any = get_model_cls(model_config)
    placeholder: str = model.get_placeholder_str("video", 1)
    return placeholder


_Told = Callable[[Any], None]
"""Called with each output on the way to the last."""


class _Driver(Protocol):
    vllm_config: Any
    tokenizer: Any

    async def generate(self, prompt: Any, params: Any, told: _Told | None = None) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class _Ask:
    request_id: str
    prompt: Any
    params: Any
    future: Future[Any]
    told: _Told | None


class _InProcess:
    """A thread that owns an `LLMEngine`: takes requests from an inbox, steps while any is unfinished."""

    def __init__(self, engine_args: Any, stat_loggers: list[Any]) -> None:
        from vllm.v1.engine.llm_engine import LLMEngine

        self._engine = LLMEngine.from_engine_args(engine_args, stat_loggers=stat_loggers)
        self.vllm_config = self._engine.vllm_config
        self.tokenizer = self._engine.get_tokenizer()
        self._inbox: queue.SimpleQueue[_Ask | str | None] = queue.SimpleQueue()
        self._pending: dict[str, Future[Any]] = {}
        self._told: dict[str, _Told] = {}
        self._death: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="vllm", daemon=True)
        self._thread.start()

    async def generate(self, prompt: Any, params: Any, told: _Told | None = None) -> Any:
        if self._death is not None:
            raise EngineDead(f"it died of an earlier request: {self._death!r}") from self._death
        ask = _Ask(uuid.uuid4().hex, prompt, params, Future(), told)
        self._inbox.put(ask)
        try:
            return await asyncio.wrap_future(ask.future)
        except asyncio.CancelledError:
            self._inbox.put(ask.request_id)
            raise

    def _run(self) -> None:
        try:
            while self._take():
                for output in self._engine.step():
                    if output.finished:
                        self._told.pop(output.request_id, None)
                        self._pending.pop(output.request_id).set_result(output)
                    elif output.request_id in self._told:
                        self._told[output.request_id](output)
        except BaseException as error:
            # A failed step leaves the engine in no known state: everyone who waits must hear of it.
            self._death = error
            while not self._inbox.empty():
                if isinstance(item := self._inbox.get(), _Ask):
                    self._pending[item.request_id] = item.future
            for future in self._pending.values():
                if future.done():  # given up while it waited in the inbox
                    continue
                dead = EngineDead(repr(error))
                dead.__cause__ = error
                future.set_exception(dead)
            raise

    def _take(self) -> bool:
        """Add what is in the inbox, waiting when there is nothing else to do; False on close."""
        from vllm.exceptions import VLLMClientError

        while True:
            try:
                item = self._inbox.get(block=not self._engine.has_unfinished_requests())
            except queue.Empty:
                return True
            if item is None:
                return False
            if isinstance(item, str):  # nobody waits for it any more
                if self._pending.pop(item, None) is not None:
                    self._told.pop(item, None)
                    self._engine.abort_request([item])
                continue
            if not item.future.set_running_or_notify_cancel():
                continue
            self._pending[item.request_id] = item.future
            if item.told is not None:
                self._told[item.request_id] = item.told
            try:
                self._engine.add_request(item.request_id, item.prompt, item.params)
            except (VLLMClientError, ValueError) as error:
                # Refused while it was prepared: the engine has not seen it. What a processor makes of odd input
                # is often a plain ValueError.
                self._pending.pop(item.request_id).set_exception(_request_error(error))

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()
        self._engine.engine_core.shutdown()


def _request_error(error: Exception) -> RequestError:
    text = str(error)
    # vLLM has no exception of its own for it: the first is the tokeniser's check, the second the scheduler's.
    too_long = "maximum context length" in text or "longer than the maximum" in text
    return RequestError("prompt_too_long" if too_long else "engine_refused", text)


class _OwnProcesses:
    """vLLM's asynchronous front end, with the engine in processes of its own."""

    def __init__(self, engine_args: Any, stat_loggers: list[Any]) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        self._engine = AsyncLLM.from_engine_args(engine_args, stat_loggers=stat_loggers)
        self.vllm_config = self._engine.vllm_config
        self.tokenizer = self._engine.renderer.tokenizer

    async def generate(self, prompt: Any, params: Any, told: _Told | None = None) -> Any:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        last = None
        try:
            async for output in self._engine.generate(prompt, params, request_id=uuid.uuid4().hex):
                last = output
                if told is not None and not output.finished:
                    told(output)
        except (VLLMClientError, ValueError) as error:
            raise _request_error(error) from error
        except EngineGenerateError as error:  # around what a processor makes of odd input
            if isinstance(error.__cause__, ValueError):
                raise _request_error(error.__cause__) from error
            raise
        except EngineDeadError as error:
            raise EngineDead(repr(error)) from error
        return last

    def close(self) -> None:
        self._engine.shutdown()
