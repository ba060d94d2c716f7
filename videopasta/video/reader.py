"""The frames of a row: decoded by the plan that stands in it, from the video that it was made from, or refused."""

from types import TracebackType
from typing import Protocol, Self

import numpy as np

from videopasta.config.video import DecodeConfig
from videopasta.video.decode import ClipRequest
from videopasta.video.plan import FramePlan
from videopasta.video.worker import DecodeWorker, decode_stored


class SeenClip(Protocol):
    """What a row says of its clip."""

    @property
    def uri(self) -> str: ...
    @property
    def start_s(self) -> float | None: ...
    @property
    def end_s(self) -> float | None: ...
    @property
    def video_sha256(self) -> str: ...
    @property
    def plan(self) -> FramePlan: ...


class FrameReader:
    """The frames that a row's plan names, decoded in a process that can be killed."""

    def __init__(self, config: DecodeConfig) -> None:
        self._config = config
        self._worker = DecodeWorker(config)

    def read(self, clip: SeenClip) -> np.ndarray:
        """uint8 (T, H, W, 3), RGB: pixel for pixel what the model saw when it answered.

        Raises:
            VideoError: the video is gone, is another file now, or does not decode.
        """
        request = ClipRequest(clip.uri, clip.start_s, clip.end_s, {"seen": clip.plan}, self._config)
        decoded = decode_stored(self._worker, request, clip.video_sha256)
        return decoded.frames[clip.plan.key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder process."""
        self._worker.close()
