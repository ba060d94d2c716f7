"""Short synthetic videos of moving shapes, for the demo and the benchmarks: real H.264 files, made in a second.

python -m videopasta.tiny.clips FOLDER
"""

import sys
from pathlib import Path

import av
import numpy as np

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (230, 210, 40)}
BACKGROUNDS = {"grey": (120, 120, 120), "white": (235, 235, 235), "black": (20, 20, 20)}


def write_clip(
    path: Path, *, seed: int, seconds: float = 4.0, fps: int = 24, height: int = 240, width: int = 320
) -> None:
    """Two coloured squares that cross a background; half-way the background changes. Equal seeds, equal bytes."""
    rng = np.random.default_rng(seed)
    colours = [list(COLOURS.values())[i] for i in rng.permutation(len(COLOURS))[:2]]
    grounds = [list(BACKGROUNDS.values())[i] for i in rng.permutation(len(BACKGROUNDS))[:2]]
    starts, ends = rng.uniform(0.1, 0.9, (2, 2)), rng.uniform(0.1, 0.9, (2, 2))
    side = height // 5
    num_frames = round(seconds * fps)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"threads": "1"}  # with more, x264's bytes differ from call to call
        for i in range(num_frames):
            t = i / max(1, num_frames - 1)
            image = np.full((height, width, 3), grounds[int(t >= 0.5)], np.uint8)
            for colour, start, end in zip(colours, starts, ends, strict=True):
                y, x = (start + t * (end - start)) * (height - side, width - side)
                image[int(y) : int(y) + side, int(x) : int(x) + side] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def write_clips(folder: Path, num_clips: int) -> None:
    """`num_clips` clips in `folder`, and one file that is no video, to show what becomes of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(num_clips):
        write_clip(folder / f"shapes_{seed:03d}.mp4", seed=seed)
    (folder / "not_a_video.mp4").write_text("A text with the name of a video: it ends in quarantine, the run goes on.")


if __name__ == "__main__":
    write_clips(Path(sys.argv[1]), num_clips=6)
