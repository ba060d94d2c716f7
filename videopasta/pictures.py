"""Frames as pictures for people: exactly those that a row's plans name."""

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from videopasta.config import DecodeConfig
from videopasta.video import ClipRequest, DecodedClip, DecodeWorker, FramePlan, decode_stored


class FrameLoader:
    """Decodes stored plans in a process that can be killed. Not for several threads at once."""

    def __init__(self, config: DecodeConfig) -> None:
        """Take size and decoder from the plans, limits from `config`."""
        # What was long enough for a model is long enough to be shown.
        self._config = config.model_copy(update={"min_frames": 2})
        self._worker = DecodeWorker(self._config)

    def load(self, row: Mapping[str, Any], plans: Mapping[str, Mapping[str, Any]]) -> DecodedClip:
        """The frames of `plans`, columns of `row`, whose video, span and hash it names too.

        Raises:
            VideoError: the video is gone, is another file now, or does not decode.
        """
        stored = {name: FramePlan.from_dict(dict(plan)) for name, plan in plans.items()}
        request = ClipRequest(row["video_uri"], row["start_s"], row["end_s"], stored, self._config)
        return decode_stored(self._worker, request, row["video_sha256"])

    def close(self) -> None:
        """End the decoder process."""
        self._worker.close()


def jpeg(frame: np.ndarray, *, height: int | None = None) -> bytes:
    """A frame, uint8 (H, W, 3), as JPEG; scaled to `height` pixels where that is given."""
    from PIL import Image

    picture = Image.fromarray(frame)
    if height is not None:
        width = math.ceil(picture.width * height / picture.height)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def filmstrip(frames: np.ndarray, *, num_frames: int, height: int) -> bytes:
    """`num_frames` of the frames, uint8 (T, H, W, 3), spread evenly and side by side, as JPEG."""
    places = np.linspace(0, len(frames) - 1, min(num_frames, len(frames))).round().astype(int)
    return jpeg(np.concatenate(list(frames[places]), axis=1), height=height)


def data_uri(media_type: str, data: bytes) -> str:
    """`data` as a URI that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def figure_uri(figure: Any) -> str:
    """A figure of matplotlib as a URI that holds it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return data_uri("image/png", buffer.getvalue())
