"""decord 0.6.0: fast, and wrong on some files, which are refused.

Its bundled FFmpeg 4.1 does not know edit lists' hidden frames nor AV1, its seeks and skips miscount after
keyframes with leading pictures and in intra refresh, and it loses the first frames of MPEG streams, all
without a word. So it reads every frame from the start, from two kinds of containers, and must count the
frames that the packets tell.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from videopasta.video.errors import Reason, VideoError
from videopasta.video.probe import Video

_CONTAINERS = ("mov", "matroska")


class DecordBackend:
    """Exact where its own index agrees with the packets, refused elsewhere."""

    def decode(self, video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """See `Backend.decode`."""
        import decord

        decord.logging.set_level(decord.logging.FATAL)
        if video.info.container.split(",")[0] not in _CONTAINERS:
            raise VideoError(Reason.BACKEND_REFUSED, f"decord loses frames of {video.info.container}")
        if video.packets is None or len(video.packets.pts) != video.info.num_frames:
            raise VideoError(Reason.BACKEND_REFUSED, "an edit list: decord counts its hidden frames")
        if video.info.mirrored:
            raise VideoError(Reason.BACKEND_REFUSED, "decord does not mirror")
        try:
            reader = decord.VideoReader(video.path, num_threads=0)
            starts = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
        except (RuntimeError, decord.DECORDError) as error:
            raise VideoError(Reason.BACKEND_REFUSED, f"decord cannot open it: {_first_line(error)}") from error
        times = video.table.timestamps_s
        half_frame_s = video.table.duration_s / video.info.num_frames / 2
        if len(starts) != len(times) or (np.abs(starts - starts[0] - times) > half_frame_s).any():
            raise VideoError(Reason.BACKEND_REFUSED, "decord tells other frames than the packets do")
        position = 0
        for index in indices:
            try:
                for _ in range(index - position):
                    reader.next()
                frame = reader.next().asnumpy()
            except (RuntimeError, StopIteration, decord.DECORDError) as error:
                raise VideoError(
                    Reason.BACKEND_REFUSED, f"decord fails at frame {index}: {_first_line(error)}"
                ) from error
            position = index + 1
            if frame.shape[:2] != (video.info.height, video.info.width):
                raise VideoError(Reason.BACKEND_REFUSED, f"decord shows {frame.shape[1]}x{frame.shape[0]}")
            yield frame


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
