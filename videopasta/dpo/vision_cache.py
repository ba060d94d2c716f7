"""Features of the frozen vision tower, computed once per clip and shared by the workers of a machine.

A folder of safetensors, one file a clip, mapped into memory when read. The name is a key of everything that the
features depend on: the video's content, the frame plan, the tower's weights, the type. Nothing is ever stale, only
absent; what is absent is computed again. Beyond `max_bytes` the files not read for longest are deleted: a mapped
file that another worker deletes stays readable to its end.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_NAME = "features"


def tower_hash(visual: torch.nn.Module) -> str:
    """16 hex digits of a vision tower's weights and their type."""
    digest = hashlib.sha256()
    for name, tensor in sorted(visual.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


class VisionCache:
    """Features by key, in one folder."""

    def __init__(self, folder: Path, tower: str, max_bytes: int) -> None:
        """Open, or make, the cache.

        Args:
            folder: local; several processes may share it.
            tower: `tower_hash` of what makes the features.
            max_bytes: of all files together.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._tower, self._max_bytes = folder, tower, max_bytes

    def get(self, clip_key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """(V, D) features of a clip, on the CPU; computed and kept if they are not there.

        Args:
            clip_key: `Clip.key`: equal keys mean equal pixels.
            compute: makes them.
        """
        path = self._path(clip_key)
        try:
            features: torch.Tensor = load_file(path)[_NAME]
            os.utime(path)
        except FileNotFoundError:
            features = compute().cpu().contiguous()
            self._put(path, {_NAME: features})
        return features

    def has(self, clip_key: str) -> bool:
        """Whether the features of a clip are there."""
        return self._path(clip_key).is_file()

    def _path(self, clip_key: str) -> Path:
        return self._folder / f"{hashlib.sha256(f'{self._tower} {clip_key}'.encode()).hexdigest()[:32]}.safetensors"

    def _put(self, path: Path, tensors: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as hidden:
            written = Path(hidden) / path.name
            save_file(tensors, written)
            written.replace(path)
        self._shrink(spare=path)

    def _shrink(self, spare: Path) -> None:
        """Delete the files not read for longest, but never the newest."""
        files = []
        for file in self._folder.glob("*.safetensors"):
            try:
                files.append((file.stat(), file))
            except FileNotFoundError:
                continue
        total = sum(status.st_size for status, _ in files)
        for status, file in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
            if total <= self._max_bytes:
                return
            if file != spare:
                file.unlink(missing_ok=True)
                total -= status.st_size
