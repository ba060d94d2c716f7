"""A video as the model will see it: from an address, a file or frames that a client sent.

Files are decoded as everywhere, in a process that can be killed. Frames are opened by Pillow in this one, which holds
neither model nor keys, as JPEG, PNG or WebP alone, and their sizes are judged before their pixels are read.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from videopasta import scratch
from videopasta.config import DecodeConfig, PlanConfig, SourcesConfig
from videopasta.engine import Video
from videopasta.serve.reading import SentFrames, SentVideo, UriVideo, VideoSource
from videopasta.video import ClipRequest, DecodeWorker, Reason, VideoError, frame_size
from videopasta.video.resize import Resizer

_FORMATS = ("JPEG", "PNG", "WEBP")
_SCRATCH = "serve"


class Looker:
    """Decodes one video at a time."""

    def __init__(self, config: DecodeConfig) -> None:
        scratch.sweep(_SCRATCH)
        self._config = config
        self._folder = tempfile.TemporaryDirectory(prefix=scratch.prefix(_SCRATCH))
        sources = SourcesConfig(roots=(self._folder.name,), schemes=("file",))
        self._of_sent = config.model_copy(update={"sources": sources})
        self._worker = DecodeWorker(config)

    def look(self, source: VideoSource, plan: PlanConfig) -> Video:
        """The frames of `source` that `plan` picks; of frames that were sent, all.

        Raises:
            VideoError: it cannot be used, and why.
            RuntimeError: as `DecodeWorker.decode`.
        """
        if isinstance(source, SentFrames):
            return see_frames(source, self._config)
        if isinstance(source, UriVideo):
            return self._decode(source.uri, plan, self._config)
        return self._decode_sent(source, plan)

    def _decode_sent(self, source: SentVideo, plan: PlanConfig) -> Video:
        with tempfile.NamedTemporaryFile(dir=self._folder.name, suffix=".video") as file:
            file.write(source.content)
            file.flush()
            try:
                return self._decode(file.name, plan, self._of_sent)
            except VideoError as error:  # which names the file by its place here
                detail = error.detail.replace(file.name, "the file that was sent")
                raise VideoError(error.reason, detail, error.video_sha256) from None

    def _decode(self, uri: str, plan: PlanConfig, config: DecodeConfig) -> Video:
        clip = self._worker.decode(ClipRequest(uri, None, None, {"seen": plan}, config))
        seen = clip.plans["seen"]
        return Video(clip.frames[seen.key], seen.sampled_fps, f"{clip.video_sha256}-{seen.key}")

    def close(self) -> None:
        """End the decoder process."""
        self._worker.close()
        self._folder.cleanup()


def see_frames(source: SentFrames, config: DecodeConfig) -> Video:
    """Frames that were sent, at the size that a video's would have.

    Raises:
        VideoError: one is no image, is too large, or is not of the others' size.
    """
    opened = list(_opened(source.images, config.max_frame_pixels))
    width, height = opened[0].size
    size = frame_size(height, width, len(opened), config.pixels)
    resize = Resizer(*size)
    frames = np.stack([resize(_pixels(number, image)) for number, image in enumerate(opened)])
    digest = hashlib.sha256()
    for image in source.images:
        digest.update(hashlib.sha256(image).digest())
    # The time between frames is no part of the files, and the encoded video is not the same without it.
    return Video(frames, source.fps, f"{digest.hexdigest()}-{size[0]}x{size[1]}-{source.fps!r}")


def _opened(images: Sequence[bytes], max_pixels: int) -> Iterator[Image.Image]:
    first: tuple[int, int] | None = None
    for number, content in enumerate(images):
        try:
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            words = f"frame {number} is no {', '.join(_FORMATS)} ({type(error).__name__})"
            raise VideoError(Reason.CORRUPT, words) from None
        if image.width * image.height > max_pixels:
            words = f"frame {number}: {image.width}x{image.height}, over max_frame_pixels={max_pixels}"
            raise VideoError(Reason.TOO_LARGE, words)
        first = first or image.size
        if image.size != first:
            words = f"frame {number}: {image.width}x{image.height}, the first is {first[0]}x{first[1]}"
            raise VideoError(Reason.UNSUPPORTED_SHAPE, words)
        yield image


def _pixels(number: int, image: Image.Image) -> np.ndarray:
    try:
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoError(Reason.CORRUPT, f"frame {number} does not decode ({error})") from None
