"""What people have in their folders: broken and odd video files, each with its reason code."""

import os
import socket
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np

from tests.clips import make_clip
from videopasta.config.video import DecodeConfig, SourcesConfig
from videopasta.video import Reason

BAD_REASONS = {
    "missing": Reason.MISSING,
    "zero_bytes": Reason.EMPTY_FILE,
    "text": Reason.NOT_A_VIDEO,
    "folder": Reason.NOT_A_VIDEO,
    "audio_only": Reason.NO_VIDEO_STREAM,
    "truncated_index_first": Reason.TRUNCATED,
    "truncated_index_last": Reason.TRUNCATED,
    "truncated_webm": Reason.TRUNCATED,
    "flipped_bytes": Reason.CORRUPT,
    "one_frame": Reason.TOO_SHORT,
    "eleven_frames": Reason.TOO_SHORT,
    "ten_hours": Reason.TOO_LONG,
    "too_long_name": Reason.NAME_TOO_LONG,
    "unreadable": Reason.UNREADABLE,
    "pipe": Reason.NOT_A_VIDEO,
}
"""What `decode_clip` with the default configuration says of each; `unreadable` not to root."""

ODD_BUT_GOOD = ("good", "duplicate", "not_utf8", "long_name")
"""Names from `make_bad_videos` that decode."""


def make_bad_videos(folder: Path) -> dict[str, str]:
    """Write the files; by name, their paths (as `os.fsdecode` gives them)."""
    good = make_clip(folder / "good.mp4", muxer_options={"movflags": "+faststart"})
    content = good.read_bytes()
    paths = {name: folder / f"{name}.mp4" for name in (*BAD_REASONS, *ODD_BUT_GOOD)}
    paths["duplicate"].write_bytes(content)
    paths["zero_bytes"].touch()
    paths["text"].write_text("This is no video.\n" * 100)
    paths["folder"].mkdir()
    _write_audio(paths["audio_only"])
    paths["truncated_index_first"].write_bytes(content[: len(content) * 2 // 3])
    index_last = make_clip(folder / "whole_index_last.mp4")
    paths["truncated_index_last"].write_bytes(index_last.read_bytes()[: index_last.stat().st_size * 2 // 3])
    index_last.unlink()
    paths["truncated_webm"] = folder / "truncated_webm.webm"
    webm = make_clip(folder / "whole.webm", codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})
    paths["truncated_webm"].write_bytes(webm.read_bytes()[: webm.stat().st_size * 2 // 3])
    webm.unlink()
    paths["flipped_bytes"].write_bytes(flip_bytes(content))
    make_clip(paths["one_frame"], num_frames=1)
    make_clip(paths["eleven_frames"], num_frames=11)
    make_clip(paths["ten_hours"], num_frames=16, ticks=[i * 2_400_000 for i in range(16)])
    paths["not_utf8"] = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))
    paths["not_utf8"].write_bytes(content)
    paths["long_name"] = folder / f"{'long' * 62}.mp4"
    paths["long_name"].write_bytes(content)
    paths["too_long_name"] = folder / f"{'long' * 100}.mp4"
    paths["unreadable"].write_bytes(content)
    paths["unreadable"].chmod(0)
    os.mkfifo(paths["pipe"])
    return {name: str(path) for name, path in paths.items()}


@contextmanager
def silent_server() -> Iterator[str]:
    """The uri of a file whose server takes the request and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hangs.mp4"


def allowing(uri: str, **settings: float) -> DecodeConfig:
    """A configuration that may also fetch from the address of `uri`."""
    sources = SourcesConfig(schemes=("file", "http"), hosts=(urlsplit(uri).netloc,))
    return DecodeConfig.model_validate({"sources": sources, **settings})


def flip_bytes(content: bytes) -> bytes:
    """Damage 64 bytes in the middle fifth of a file."""
    damaged = np.frombuffer(content, np.uint8).copy()
    places = np.linspace(len(content) * 2 // 5, len(content) * 3 // 5, 64).astype(int)
    damaged[places] ^= 0xFF
    return damaged.tobytes()


def _write_audio(path: Path) -> None:
    pcm = path.with_suffix(".wav")
    with wave.open(str(pcm), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes((np.sin(np.arange(16000) / 10) * 9000).astype("<i2").tobytes())
    with av.open(str(pcm)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream("aac", rate=16000)
        for frame in reader.decode(audio=0):
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode())
    pcm.unlink()
