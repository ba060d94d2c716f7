"""From scenes to pixels: frames for training, and real H.264 files for the pipeline.

Every picture is drawn from the scene's state with edges smoothed by supersampling, at any size. The files are
three times larger than what the models see, at 16 frames a second, so that a 32-frame uniform plan meets whole
ticks and downscaling is part of the road.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videopasta.tiny.world import NUM_TICKS, SIZE, TICK_S, Scene, Seen, State, state

RGB = {
    "red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 230), "yellow": (235, 215, 50),
    "purple": (165, 60, 195), "white": (240, 240, 240),
    "black": (18, 18, 18), "grey": (112, 112, 112), "brown": (105, 65, 30), "navy": (15, 25, 85),
}  # fmt: skip
FPS = 16
NUM_FRAMES = round((NUM_TICKS - 1) * TICK_S * FPS) + 1
"""125: from the first tick to the last, both included."""
MODEL_SIZE = 84
"""Pixels a side as the models see it: each cell is one token of 28x28."""
FILE_SIZE = 3 * MODEL_SIZE
TIMELINE = 42
"""The picture is so many times higher than the line along its bottom that grows with time."""
SUPERSAMPLING = 4


def draw(picture: State, size: int = MODEL_SIZE) -> np.ndarray:
    """uint8 (size, size, 3), RGB."""
    image = _objects(picture.background, picture.things, size).copy()
    image[-(size // TIMELINE) :, : round(size * (picture.tick + 1) / NUM_TICKS)] = RGB["white"]
    return image


@functools.lru_cache(maxsize=1024)
def _objects(background: str, things: tuple[Seen, ...], size: int) -> np.ndarray:
    image = np.array(RGB[background], np.float32) + _shade(size)
    for thing in things:
        cover = _cover(thing.shape, thing.x, thing.y, thing.radius, size)
        image += cover * (np.array(RGB[thing.colour], np.float32) - image)
    return np.clip(image.round(), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _shade(size: int) -> np.ndarray:
    """A soft gradient, float32 (size, size, 3)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    zeros = np.zeros((size, size), np.float32)
    return np.stack([zeros + 36 * line, zeros, zeros + 36 * line[:, None]], axis=-1)


@functools.lru_cache(maxsize=4096)
def _cover(shape: str, x: float, y: float, radius: float, size: int) -> np.ndarray:
    """How much of each pixel the shape covers, float32 (size, size, 1), 0 to 1."""
    side = size * SUPERSAMPLING
    line = (np.arange(side, dtype=np.float32) + 0.5) * np.float32(SIZE / side)
    inside = _inside(shape, line[None, :] - np.float32(x), line[:, None] - np.float32(y), radius)
    return inside.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean((1, 3), dtype=np.float32)[..., None]


def _inside(shape: str, x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    if shape == "circle":
        return x**2 + y**2 <= r**2
    if shape == "ring":
        return (x**2 + y**2 <= r**2) & (x**2 + y**2 >= (0.5 * r) ** 2)
    if shape == "square":
        return np.maximum(abs(x), abs(y)) <= 0.86 * r
    if shape == "triangle":
        return (y <= 0.8 * r) & (y >= -r) & (abs(x) <= 0.58 * (y + r))
    return ((abs(x) <= 0.34 * r) & (abs(y) <= r)) | ((abs(y) <= 0.34 * r) & (abs(x) <= r))


class Painter:
    """Draws states, each different one once."""

    def __init__(self, size: int = MODEL_SIZE) -> None:
        self._size = size
        self._drawn: dict[State, int] = {}
        self._images: list[np.ndarray] = []

    def index(self, picture: State) -> int:
        """Number of the picture in `images()`."""
        if picture not in self._drawn:
            self._drawn[picture] = len(self._images)
            self._images.append(draw(picture, self._size))
        return self._drawn[picture]

    def images(self) -> np.ndarray:
        """uint8 (number of different pictures, size, size, 3)."""
        return np.stack(self._images)


def frames(scene: Scene, ticks: Sequence[float] = range(NUM_TICKS), size: int = MODEL_SIZE) -> np.ndarray:
    """uint8 (T, size, size, 3), RGB, at `ticks`."""
    painter = Painter(size)
    indices = [painter.index(state(scene, tick)) for tick in ticks]
    return painter.images()[indices]


def write_video(scene: Scene, path: Path, size: int = FILE_SIZE) -> None:
    """`scene` as an mp4 file. Equal scenes give equal bytes."""
    import av

    painter = Painter(size)
    indices = [painter.index(state(scene, i / (FPS * TICK_S))) for i in range(NUM_FRAMES)]
    images = painter.images()
    with av.open(str(path), "w") as container:
        # On one thread: with more, x264's bytes differ from call to call.
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = size, size, "yuv420p"
        for index in indices:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(images[index], format="rgb24")))
        container.mux(stream.encode(None))
