"""decord 0.6.0: fast, and wrong on some files, which are refused.

Its bundled FFmpeg 4.1 does not know edit lists' hidden frames (10 of 32 frames were others) and AV1. So the
number and the times of its frames must be those of the frame table.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from videopasta.video.errors import Reason, VideoError
from videopasta.video.probe import Video


class DecordBackend:
    """Exact where its own index agrees with the packets, refused elsewhere."""

    def decode(self, video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """See `Backend.decode`."""
        import decord

        decord.logging.set_level(decord.logging.FATAL)
        if video.packets is None or len(video.packets.pts) != video.info.num_frames:
            raise VideoError(
                Reason.BACKEND_REFUSED, "an edit list or guessed times: decord counts other frames"
            )
        if video.info.mirrored:
            raise VideoError(Reason.BACKEND_REFUSED, "decord does not mirror")
        try:
            reader = decord.VideoReader(video.path, num_threads=0)
            starts = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
        except (RuntimeError, decord.DECORDError) as error:
            raise VideoError(
                Reason.BACKEND_REFUSED, f"decord cannot open it: {_first_line(error)}"
            ) from error
        times = video.table.timestamps_s
        half_frame_s = video.table.duration_s / video.info.num_frames / 2
        if len(starts) != len(times) or (np.abs(starts - starts[0] - times) > half_frame_s).any():
            raise VideoError(Reason.BACKEND_REFUSED, "decord tells other frames than the packets do")
        for index in indices:
            try:
                frame = reader[index].asnumpy()
            except (RuntimeError, decord.DECORDError) as error:
                raise VideoError(Reason.CORRUPT, f"frame {index}: {_first_line(error)}") from error
            if frame.shape[:2] != (video.info.height, video.info.width):
                raise VideoError(Reason.BACKEND_REFUSED, f"decord shows {frame.shape[1]}x{frame.shape[0]}")
            yield frame


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
