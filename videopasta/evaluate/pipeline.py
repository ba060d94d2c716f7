"""The Ray Data graph of an evaluation: one row per clip, frames die when the model has answered.

sheets ─ decode ─ answer ─ grade ─► driver: commits shards        (each ─ is an actor pool; grade where needed)
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from videopasta.clip_stream import dataset, frames_of, pool_options, row, stream, value_of
from videopasta.config import EvaluateConfig, ModelConfig
from videopasta.engine import RequestError, Video, start_engine
from videopasta.engine.host import EngineHost, start_attempts
from videopasta.evaluate.asking import ask, grade, to_grade, ungraded
from videopasta.evaluate.sheets import Sheet
from videopasta.video import ClipRequest, DecodeWorker, VideoError, decode_stored

_VIEW = "seen"


def stream_sheets(sheets: Sequence[Sheet], config: EvaluateConfig) -> Iterator[Sheet]:
    """Run the graph on the connected Ray cluster; yields each clip's sheet, answered or not, unordered."""
    data = dataset(sheet.model_dump_json() for sheet in sheets)
    data = data.map_batches(DecodeActor, fn_constructor_kwargs={"config": config}, **pool_options(config.decode_pool))
    attempts = start_attempts()
    data = data.map_batches(
        AnswerActor,
        fn_constructor_kwargs={"config": config, "attempts": attempts},
        **pool_options(config.model.pool),
    )
    if config.grader_model is not None and any(to_grade(sheet.questions) for sheet in sheets):
        data = data.map_batches(
            GradeActor,
            fn_constructor_kwargs={"config": config, "model": config.grader_model, "attempts": attempts},
            **pool_options(config.grader_model.pool),
        )
    for value in stream(data):
        yield Sheet.model_validate_json(value)


class DecodeActor:
    """The frames of a clip, by a decoder process that can be killed; a clip that fails has a problem each question."""

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config
        self._worker = DecodeWorker(config.decode)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in, one row out."""
        sheet = Sheet.model_validate_json(value_of(batch))
        asked = sheet.questions[0]
        request = ClipRequest(
            asked.video_uri, asked.start_s, asked.end_s, {_VIEW: self._config.plan}, self._config.decode
        )
        try:
            clip = decode_stored(self._worker, request, asked.video_sha256)
        except VideoError as error:
            return row(sheet.failed(f"{error.reason}: {error.detail}").model_dump_json())
        except RuntimeError as error:
            # A mistake of ours that this file brings out: a row to report, not the end of everyone's run.
            return row(sheet.failed(f"decoder_error: {error}").model_dump_json())
        return row(sheet.having(plan=clip.plans[_VIEW]).model_dump_json(), clip.frames)


class AnswerActor:
    """Hosts the model and asks it, many clips at a time."""

    def __init__(self, config: EvaluateConfig, attempts: Any) -> None:
        self._config = config
        self._host = EngineHost(partial(start_engine, config.model, video=True), config.model.pool, attempts)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in, one row out; the frames end here."""
        sheet = Sheet.model_validate_json(value_of(batch))
        if sheet.plan is not None:
            frames = frames_of(batch, [sheet.plan])[sheet.plan.key]
            asked = sheet.questions[0]
            video = Video(frames, sheet.plan.sampled_fps, f"{asked.video_sha256}-{sheet.plan.key}")
            try:
                sheet = await self._host.do(
                    f"answer {asked.clip}", lambda engine: ask(sheet, video, engine, self._config)
                )
            except RequestError as error:
                sheet = sheet.failed(f"{error.reason}: {error.detail}")
        return row(sheet.model_dump_json())


class GradeActor:
    """Hosts the grader."""

    def __init__(self, config: EvaluateConfig, model: ModelConfig, attempts: Any) -> None:
        self._config = config
        self._host = EngineHost(partial(start_engine, model, video=False), model.pool, attempts)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in, one row out."""
        sheet = Sheet.model_validate_json(value_of(batch))
        try:
            graded = await self._host.do(
                f"grade {sheet.questions[0].clip}", lambda engine: grade(sheet, engine, self._config)
            )
        except RequestError as error:
            graded = ungraded(sheet, f"{error.reason}: {error.detail}")
        return row(graded.model_dump_json())
