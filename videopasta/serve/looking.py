"""A video as the model will see it: from an address, a file or frames that a client sent.

Files are decoded as everywhere, in a process that can be killed. Frames are opened by Pillow in this one, which holds
neither model nor keys, as JPEG, PNG or WebP alone. Their sizes are judged before their pixels are read, and of their
pixels one frame's are held at a time.
"""

import hashlib
import io
import tempfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from videopasta import scratch
from videopasta.config import DecodeConfig, PlanConfig, SourcesConfig
from videopasta.engine import Video
from videopasta.serve.reading import SentFrames, SentVideo, UriVideo, VideoSource
from videopasta.video import ClipRequest, DecodeWorker, Reason, VideoError, frame_size
from videopasta.video.resize import Resizer

_FORMATS = ("JPEG", "PNG", "WEBP")
_SCAN = b"\xff\xda"
_MAX_SCANS = 100
"""Of a JPEG. Progressive ones have ten; each goes over all pixels again, and takes 28 bytes of a file to say so."""
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
    width, height = _checked_size(source.images, config.max_frame_pixels)
    size = frame_size(height, width, len(source.images), config.pixels)
    resize = Resizer(*size)
    frames = np.stack([resize(_pixels(number, content)) for number, content in enumerate(source.images)])
    digest = hashlib.sha256()
    for image in source.images:
        digest.update(hashlib.sha256(image).digest())
    # The time between frames is no part of the files, and the encoded video is not the same without it.
    return Video(frames, source.fps, f"{digest.hexdigest()}-{size[0]}x{size[1]}-{source.fps!r}")


def _checked_size(images: Sequence[bytes], max_pixels: int) -> tuple[int, int]:
    """The width and height that all of them have."""
    first: tuple[int, int] | None = None
    for number, content in enumerate(images):
        try:
            image = _open(content)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            words = f"frame {number} is no {', '.join(_FORMATS)} ({type(error).__name__})"
            raise VideoError(Reason.CORRUPT, words) from None
        if image.format == "JPEG" and content.count(_SCAN) > _MAX_SCANS:
            raise VideoError(Reason.TOO_LARGE, f"frame {number}: a JPEG of more than {_MAX_SCANS} scans")
        if image.width * image.height > max_pixels:
            words = f"frame {number}: {image.width}x{image.height}, over max_frame_pixels={max_pixels}"
            raise VideoError(Reason.TOO_LARGE, words)
        first = first or image.size
        if image.size != first:
            words = f"frame {number}: {image.width}x{image.height}, the first is {first[0]}x{first[1]}"
            raise VideoError(Reason.UNSUPPORTED_SHAPE, words)
    assert first is not None
    return first


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=_FORMATS)


def _pixels(number: int, content: bytes) -> np.ndarray:
    try:
        return np.asarray(_open(content).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoError(Reason.CORRUPT, f"frame {number} does not decode ({error})") from None
