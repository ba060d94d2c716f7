"""What a decoder promises."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from videopasta.video.probe import Video


class UntrustedIndexError(Exception):
    """No damage, yet the decoder shows other frames than the packets told: index by decoding."""


class Backend(Protocol):
    """Gives frames by index. Exact, or an error: never a neighbour of the frame asked for."""

    def decode(self, video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames at `indices`, one at a time, so that a clip of large frames need not fit in memory.

        Args:
            video: the probed file.
            indices: presentation indices, strictly increasing.

        Yields:
            uint8 (H, W, 3), RGB, at the source's size, rotation applied.

        Raises:
            VideoError: corrupt, unsupported_codec, backend_refused.
            UntrustedIndexError: see there.
        """
        ...
