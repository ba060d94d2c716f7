"""The one resize of every backend: FFmpeg's bicubic, antialiased, on each colour plane by itself.

Pure of formats and files: pixels in, pixels out. Bit-exact flags keep it the same on every processor. A frame
of 640x360 takes 0.9 ms where Pillow's bicubic takes 4.4 (2026-11-23), and differs from it by under one level
of 255 on average: the kernels' sharpness differs (0.6 against 0.5), the antialiasing does not.
"""

import numpy as np


class Resizer:
    """Resizes frames to one size. Not for several threads at once."""

    def __init__(self, height: int, width: int) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._size = height, width
        self._flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        # Each keeps its tables from frame to frame.
        self._to_planes, self._scale, self._to_rgb = (
            VideoReformatter(),
            VideoReformatter(),
            VideoReformatter(),
        )

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Resize one frame.

        Args:
            frame: uint8 (H, W, 3), RGB.

        Returns:
            uint8 (height, width, 3), RGB; `frame` itself when it has the size.
        """
        import av

        if frame.shape[:2] == self._size:
            return frame
        height, width = self._size
        # Packed RGB would be scaled by way of YUV with half the colour; planes of RGB stay what they are.
        planes = self._to_planes.reformat(av.VideoFrame.from_ndarray(frame, format="rgb24"), format="gbrp")
        scaled = self._scale.reformat(planes, width, height, interpolation=self._flags)
        resized: np.ndarray = self._to_rgb.reformat(scaled, format="rgb24").to_ndarray()
        return resized
