"""From a clip to the vision tower's features: decoded as its row says, encoded once, kept by content.

A video that is gone, or is another file now, is a `VideoError` with a reason.
"""

import time
from types import TracebackType
from typing import Self

import torch

from videopasta.config import DecodeConfig
from videopasta.dpo.examples import Clip
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.vision_cache import VisionCache
from videopasta.video import FrameReader


class FeatureSource:
    """Features of clips, from the cache or made."""

    def __init__(self, video: QwenVideo, cache: VisionCache, config: DecodeConfig) -> None:
        self._video, self._cache, self._reader = video, cache, FrameReader(config)
        self.data_s = 0.0
        """Seconds of decoding and of reading the cache."""
        self.vision_s = 0.0
        """Seconds in the vision tower."""

    def has(self, clip: Clip) -> bool:
        """Whether they are in the cache."""
        return self._cache.has(clip.key)

    def of(self, clip: Clip) -> torch.Tensor:
        """(V, D), on the CPU.

        Raises:
            VideoError: as `FrameReader.read`; not when the features are in the cache.
        """
        started, vision_before = time.perf_counter(), self.vision_s
        features = self._cache.get(clip.key, lambda: self._make(clip))
        self.data_s += time.perf_counter() - started - (self.vision_s - vision_before)
        return features

    def _make(self, clip: Clip) -> torch.Tensor:
        frames = self._reader.read(clip)
        started = time.perf_counter()
        features = self._video.features(frames).cpu()
        self.vision_s += time.perf_counter() - started
        return features

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._reader.close()
