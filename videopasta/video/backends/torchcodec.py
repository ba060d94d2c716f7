"""torchcodec: exact by scanning the file once more, with the system's FFmpeg libraries."""

from collections.abc import Iterator, Sequence

import numpy as np

from videopasta.video.errors import Reason, VideoError
from videopasta.video.probe import Video

_FRAMES_AT_ONCE = 8


class TorchcodecBackend:
    """Exact; every frame's time is compared with the table."""

    def decode(self, video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """See `Backend.decode`."""
        from torchcodec.decoders import VideoDecoder

        if video.packets is None:
            raise VideoError(Reason.BACKEND_REFUSED, "the times of its frames are guessed: torchcodec orders by them")
        if video.info.mirrored:
            raise VideoError(Reason.BACKEND_REFUSED, "torchcodec does not mirror")
        first_s = float(video.pts[0] * video.time_base)
        half_frame_s = video.table.duration_s / video.info.num_frames / 2
        try:
            decoder = VideoDecoder(
                video.path,
                stream_index=video.info.stream_index,
                dimension_order="NHWC",
                num_ffmpeg_threads=0,
                seek_mode="exact",
            )
            for at in range(0, len(indices), _FRAMES_AT_ONCE):
                part = list(indices[at : at + _FRAMES_AT_ONCE])
                batch = decoder.get_frames_at(indices=part)
                wrong = np.abs(batch.pts_seconds.numpy() - first_s - video.table.timestamps_s[part]) > half_frame_s
                if wrong.any() or len(batch.data) != len(part):
                    raise VideoError(Reason.BACKEND_REFUSED, f"torchcodec gives other frames than {part}")
                frames = batch.data.numpy()
                if frames.shape[1:3] != (video.info.height, video.info.width):
                    raise VideoError(Reason.BACKEND_REFUSED, f"torchcodec shows {frames.shape[2]}x{frames.shape[1]}")
                yield from frames
        except (RuntimeError, ValueError, IndexError) as error:
            raise VideoError(Reason.BACKEND_REFUSED, f"torchcodec fails: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
