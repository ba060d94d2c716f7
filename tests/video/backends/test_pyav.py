from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import read_number
from videopasta.video import VideoError
from videopasta.video.backends.pyav import PyAVBackend, index_by_decoding
from videopasta.video.probe import Video, probe, read_header
from videopasta.video.seek import plan_segments

HIDDEN = {"edit_list.mp4": 42}


def video_of(path: Path) -> Video:
    header = read_header(str(path))
    return probe(str(path), header) or index_by_decoding(str(path), header)


def choices(num_frames: int) -> list[list[int]]:
    """Frames as plans ask for them, and as they hurt: single ones, neighbours, the ends."""
    rng = np.random.default_rng(num_frames)
    several = [np.sort(rng.choice(num_frames, min(n, num_frames), replace=False)).tolist() for n in (1, 3, 8)]
    last = [list(range(max(0, num_frames - 4), num_frames))]
    return [np.unique(np.linspace(0, num_frames - 1, 32).round().astype(int)).tolist(), *several, *last]


def test_frames_equal_a_plain_sequential_decode(clip: Path):
    """Seeking and skipping change no byte of any frame, on every clip."""
    video = video_of(clip)
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.best("video"))]
    assert len(frames) == video.info.num_frames
    turn = -video.info.rotation // 90
    for indices in choices(len(frames)):
        decoded = list(PyAVBackend().decode(video, indices))
        assert len(decoded) == len(indices)
        for index, frame in zip(indices, decoded, strict=True):
            assert np.array_equal(frame, np.rot90(frames[index], turn)), f"frame {index} of {indices}"


def test_frames_carry_their_number(generated_clip: Path):
    """Index i is the frame that was encoded as number i, on every codec and container."""
    video = video_of(generated_clip)
    assert video.info.num_frames == (78 if generated_clip.name in HIDDEN else 90)
    for indices in choices(video.info.num_frames):
        frames = PyAVBackend().decode(video, indices)
        numbers = [read_number(np.rot90(frame, video.info.rotation // 90)) for frame in frames]
        assert numbers == [index + HIDDEN.get(generated_clip.name, 0) for index in indices]


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mp4", "hevc_open_gop.mp4"])
def test_a_late_frame_is_reached_by_a_seek(generated_clips: Path, tmp_path: Path, name: str):
    """The last frame comes from its own group of pictures: damage before that does not matter."""
    video = video_of(generated_clips / name)
    (segment,) = plan_segments(video.packets, video.pts[-1:].tolist())
    assert segment.start > 20
    content = bytearray((generated_clips / name).read_bytes())
    media = content.index(b"mdat")
    content[media + 1500 : media + 3000] = b"\xff" * 1500
    damaged = tmp_path / name
    damaged.write_bytes(content)
    video = replace(video, path=str(damaged))
    (frame,) = PyAVBackend().decode(video, [video.info.num_frames - 1])
    assert read_number(frame) == 89
    with pytest.raises(VideoError):
        list(PyAVBackend().decode(video, range(20)))
