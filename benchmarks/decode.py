"""32 uniform frames of a clip, decoded and resized: ours against each decoder used by hand.

    python benchmarks/decode.py --json decode.json

Ours is the whole road, `DecodeWorker.decode`: SHA-256 of the file, probe, frame plan, exact decode, bicubic
resize and the frames' way out of the decoder process. The others only decode and resize, each as one would
write it for oneself. `agree` counts the frames that show the same picture as ours; a contender that gives
others is left out of the ratio for that clip. `ratio` is the fastest other's time over ours, geometric mean
over the clips: above 1, ours is faster. `cpu_ratio` is the same of processor time (Linux): what counts where
as many clips are decoded at once as there are cores, and steadier than wall time on a shared machine.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _common import arguments, cpu_s, geometric_mean, interleaved_medians_s, machine, write_json
from decord import DECORDError

from videopasta.config.video import DecodeConfig, UniformPlan
from videopasta.video import ClipRequest, DecodeWorker, FramePlan
from videopasta.video.backends import get_backend
from videopasta.video.probe import probe, read_header
from videopasta.video.resize import Resizer

REAL_CLIPS = Path(__file__).parents[2] / "shared" / "data" / "videos"
MIN_FRAMES = 32
SAME_PICTURE = 8.0  # mean absolute difference of 8-bit values; neighbours in these clips differ by less than codecs
PLANS = {"dense": UniformPlan(num_frames=32)}
CANNOT = (ImportError, RuntimeError, ValueError, DECORDError)  # no such library, or not for this codec
OURS, OUR_BACKEND = "videopasta worker", "videopasta pyav backend alone"


def main() -> None:
    """Time every contender on every clip, print the table, write the JSON."""
    parser = arguments(__doc__)
    options = parser.parse_args()
    clips: dict[str, dict[str, Any]] = {}
    result: dict[str, Any] = {"machine": machine(), "clips": clips}
    with tempfile.TemporaryDirectory() as folder, DecodeWorker(DecodeConfig()) as worker:
        for path in [generate(Path(folder) / "generated_30s_640x360_h264.mp4"), *real_clips()]:
            clips[path.name] = row = time_clip(str(path), worker, options.runs)
            cells = "  ".join(f"{name} {ms:.0f} ({row['cpu_ms'][name]:.0f})" for name, ms in row["ms"].items())
            print(f"{path.name}, ms (of processor): {cells}", flush=True)
            print(f"    ratio {row['ratio']:.2f} ({row['cpu_ratio']:.2f})  agree {row['agree']}")
            print(f"    not able {row['not_able']}")
    result["ratio"] = geometric_mean(row["ratio"] for row in clips.values())
    result["cpu_ratio"] = geometric_mean(row["cpu_ratio"] for row in clips.values())
    result["ratio_is"] = "fastest other decoder's time / ours, geometric mean over the clips"
    print(f"ratio {result['ratio']:.2f} (processor time {result['cpu_ratio']:.2f}): {result['ratio_is']}")
    write_json(options.json, result)


def time_clip(path: str, worker: DecodeWorker, runs: int) -> dict[str, Any]:
    """Milliseconds of each contender that can read the clip, and which frames it gives."""
    request = ClipRequest(path, None, None, PLANS, DecodeConfig())
    clip = worker.decode(request)
    plan = clip.plans["dense"]
    ours = clip.frames[plan.key]
    others: dict[str, Callable[[], np.ndarray]] = {}
    agree, not_able = {}, {}
    for name, decode in OTHERS.items():
        try:
            frames = decode(path, plan)
        except CANNOT as error:
            not_able[name] = str(error).strip().partition("\n")[0][:100]
            continue
        agree[name] = same_pictures(frames, ours)
        others[name] = lambda decode=decode: decode(path, plan)  # type: ignore[misc]
    contenders = {
        OURS: lambda: worker.decode(request),
        OUR_BACKEND: lambda: our_backend(path, plan),
        **others,
    }
    seconds = interleaved_medians_s(contenders, runs, time.perf_counter, lambda: cpu_s(worker.pid))
    right = [seconds[name] for name in others if agree[name] == len(ours)]
    ours_wall, ours_cpu = seconds[OURS]
    return {
        "ms": {name: round(wall * 1e3, 1) for name, (wall, _) in seconds.items()},
        "cpu_ms": {name: round(cpu * 1e3, 1) for name, (_, cpu) in seconds.items()},
        "agree": {name: f"{count}/{len(ours)}" for name, count in agree.items()},
        "not_able": not_able,
        "ratio": min(wall for wall, _ in right) / ours_wall,
        "cpu_ratio": min(cpu for _, cpu in right) / ours_cpu,
    }


def same_pictures(frames: np.ndarray, ours: np.ndarray) -> int:
    """How many of the frames (T, H, W, 3) show what ours show."""
    if frames.shape != ours.shape:
        return 0
    differences = [np.abs(a.astype(np.int16) - b).mean() for a, b in zip(frames, ours, strict=True)]
    return sum(difference < SAME_PICTURE for difference in differences)


def our_backend(path: str, plan: FramePlan) -> np.ndarray:
    """Our exact decoder in this process, without hash, plan and transport."""
    video = probe(path, read_header(path))
    assert video is not None, f"{path}: these clips are indexed by their packets"
    frames = get_backend("pyav").decode(video, plan.indices)
    resizer = Resizer(plan.height, plan.width)
    return np.stack([resizer(frame) for frame in frames])


def opencv(path: str, plan: FramePlan) -> np.ndarray:
    """Grab all, retrieve the wanted: seeking in OpenCV is not exact."""
    import cv2

    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise RuntimeError("cannot open it")
    wanted, frames = set(plan.indices), []
    for index in range(plan.indices[-1] + 1):
        if not capture.grab():
            raise RuntimeError(f"ends at frame {index}")
        if index in wanted:
            frame = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
            frames.append(cv2.resize(frame, (plan.width, plan.height), interpolation=cv2.INTER_CUBIC))
    return np.stack(frames)


def decord(path: str, plan: FramePlan) -> np.ndarray:
    """One batch, resized while decoding."""
    import decord

    decord.logging.set_level(decord.logging.FATAL)
    reader = decord.VideoReader(path, width=plan.width, height=plan.height)
    return reader.get_batch(list(plan.indices)).asnumpy()


def torchcodec(path: str, plan: FramePlan) -> np.ndarray:
    """One batch, resized as Qwen2.5-VL's processor does."""
    from torchcodec.decoders import VideoDecoder
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize as resize_tensor

    batch = VideoDecoder(path, num_ffmpeg_threads=0).get_frames_at(indices=list(plan.indices)).data
    resized = resize_tensor(batch, [plan.height, plan.width], InterpolationMode.BICUBIC, antialias=True)
    return resized.permute(0, 2, 3, 1).contiguous().numpy()


def pyav(path: str, plan: FramePlan) -> np.ndarray:
    """Decode all with threads, convert and resize the wanted in one step."""
    import av

    wanted, frames = set(plan.indices), []
    with av.open(path) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        stream.thread_type = "AUTO"
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted and isinstance(frame, av.VideoFrame):
                sized = frame.reformat(plan.width, plan.height, "rgb24", interpolation="BICUBIC")
                frames.append(sized.to_ndarray())
    return np.stack(frames)


OTHERS: dict[str, Callable[[str, FramePlan], np.ndarray]] = {
    "opencv": opencv,
    "decord": decord,
    "torchcodec": torchcodec,
    "pyav by hand": pyav,
}


def real_clips() -> list[Path]:
    """The clips beside the checkout that have enough frames for the plan."""
    return [
        path
        for path in sorted(REAL_CLIPS.glob("*"))
        if path.suffix in {".mp4", ".mkv", ".mov"}
        and (video := probe(str(path), read_header(str(path)))) is not None
        and video.info.num_frames >= MIN_FRAMES
    ]


def generate(path: Path) -> Path:
    """900 frames of moving texture with libx264's defaults."""
    import av

    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (45, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(900):
            picture = np.roll(texture, (2 * number, 3 * number), (0, 1))
            left = 5 * number % 560
            picture[120:180, left : left + 80] = (3 * number % 255, 200, 50)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
