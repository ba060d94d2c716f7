"""From scenes to pixels: frames for training, and real H.264 files for the pipeline.

Every picture is drawn from the scene's state with edges smoothed by supersampling, at any size. The files are
four times larger than what the models see, at 16 frames a second, so that a 32-frame uniform plan meets whole
ticks and downscaling is part of the road.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from videopasta.tiny.world import NUM_TICKS, SIZE, TICK_S, Scene, State, state

RGB = {
    "red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 230), "yellow": (235, 215, 50),
    "purple": (165, 60, 195), "white": (240, 240, 240),
    "black": (18, 18, 18), "grey": (112, 112, 112), "brown": (105, 65, 30), "navy": (15, 25, 85),
}  # fmt: skip
FPS = 16
NUM_FRAMES = round((NUM_TICKS - 1) * TICK_S * FPS) + 1
"""125: from the first tick to the last, both included."""
FILE_SIZE = 224


def draw(picture: State, size: int = int(SIZE), supersampling: int = 2) -> np.ndarray:
    """uint8 (size, size, 3), RGB."""
    side = size * supersampling
    unit = SIZE / side
    ys, xs = np.mgrid[0:side, 0:side] * unit + unit / 2
    shade = np.stack([(xs / SIZE - 0.5) * 24, np.zeros_like(xs), (ys / SIZE - 0.5) * 24], axis=-1)
    image = np.array(RGB[picture.background], float) + shade
    for thing in picture.things:
        image[_inside(thing.shape, xs - thing.x, ys - thing.y, thing.radius)] = RGB[thing.colour]
    image = image.reshape(size, supersampling, size, supersampling, 3).mean((1, 3))
    return np.clip(image.round(), 0, 255).astype(np.uint8)


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

    def __init__(self, size: int = int(SIZE)) -> None:
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


def frames(scene: Scene, ticks: Sequence[float] = range(NUM_TICKS), size: int = int(SIZE)) -> np.ndarray:
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


def write_videos(scenes: Iterable[Scene], folder: Path) -> None:
    """Each scene as `folder`/clip_NNN.mp4."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes):
        write_video(scene, folder / f"clip_{number:03d}.mp4")
