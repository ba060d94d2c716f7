"""What an export shows instead of a row's video: its uri, a copy, its bytes, or the frames of its plan as images.

What is opened must be the video that the pairs were made from; anything else is a `RowError`, once found kept for all
rows of the video.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from videopasta import storage
from videopasta.config import ExportConfig
from videopasta.exchange.formats import Media, Row, rewritten
from videopasta.exchange.rejects import RowError
from videopasta.run_file import writing
from videopasta.video import FramePlan, FrameReader, Reason, VideoError, check_source

_BLOCK_BYTES = 1 << 20
_MAX_EMBEDDED_BYTES = 1 << 30  # a column of Arrow's binary type holds 2 GiB
_MEDIA_ERRORS = {Reason.CHANGED: "give the video that the pairs were made from, or make them anew"}


@dataclass(frozen=True)
class _Clip:
    """As a `FrameReader` wants it."""

    uri: str
    start_s: float | None
    end_s: float | None
    video_sha256: str
    plan: FramePlan


class MediaMaker:
    """Media of rows, each made once."""

    def __init__(self, out: str, config: ExportConfig, rewrite: tuple[tuple[str, str], ...]) -> None:
        self._out, self._config, self._rewrite = storage.absolute(out), config, rewrite
        self._reader = FrameReader(config.decode) if config.frames else None
        self._made: dict[str, Media | RowError] = {}
        self._embedded: tuple[str, bytes | RowError] | None = None
        self.num_files = 0
        """Written to OUT."""

    def media(self, row: Row) -> Media:
        """The path of the row's video, or those of its frames.

        Raises:
            RowError: the video cannot be used, or is another one now.
        """
        if self._reader is not None:
            plan = FramePlan.from_dict(row["chosen_frame_plan"])
            return self._once(f"{row['video_sha256']}-{plan.key}", lambda: self._frames(row, plan))
        if self._config.videos == "copy":
            return self._once(row["video_sha256"], lambda: self._copy(row))
        return rewritten(row["video_uri"], self._rewrite)

    def content(self, row: Row) -> bytes:
        """The bytes of the row's video; the last video's are kept, for the rows behind it.

        Raises:
            RowError: as `media`, or it is too large.
        """
        if self._embedded is None or self._embedded[0] != row["video_sha256"]:
            try:
                parts = io.BytesIO()
                self._read(row, parts.write, _MAX_EMBEDDED_BYTES)
                self._embedded = row["video_sha256"], parts.getvalue()
            except RowError as error:
                self._embedded = row["video_sha256"], error
        found = self._embedded[1]
        if isinstance(found, RowError):
            raise found
        return found

    def _once(self, key: str, make: Callable[[], Media]) -> Media:
        if key not in self._made:
            try:
                self._made[key] = make()
            except RowError as error:
                self._made[key] = error
        found = self._made[key]
        if isinstance(found, RowError):
            raise found
        return found

    def _frames(self, row: Row, plan: FramePlan) -> tuple[str, ...]:
        assert self._reader is not None
        clip = _Clip(row["video_uri"], row["start_s"], row["end_s"], row["video_sha256"], plan)
        try:
            frames = self._reader.read(clip)
        except VideoError as error:
            raise _of_video(row, error) from error
        folder = storage.join(self._out, "frames", f"{row['video_sha256'][:16]}-{plan.key}")
        return tuple(
            self._put(
                storage.join(folder, f"{number:03d}.{_EXTENSIONS[self._config.frames or 'png']}"),
                _image(frame, self._config),
            )
            for number, frame in enumerate(frames)
        )

    def _copy(self, row: Row) -> str:
        name = row["video_uri"].rpartition("/")[2]
        extension = name.rpartition(".")[2].lower() if "." in name else "mp4"
        uri = storage.join(self._out, "videos", f"{row['video_sha256'][:16]}.{extension}")
        filesystem, path = storage.resolve(uri)
        with writing(path):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(path) as stream:
                try:
                    self._read(row, stream.write, self._config.decode.max_bytes)
                except RowError:
                    stream.close()
                    filesystem.delete_file(path)
                    raise
        self.num_files += 1
        return rewritten(uri, self._rewrite)

    def _read(self, row: Row, write: Callable[[bytes], object], max_bytes: int) -> None:
        """The content of the row's video, if it is the one that the row was made from."""
        digest, size_bytes = hashlib.sha256(), 0
        try:
            with storage.open_input(check_source(row["video_uri"], self._config.decode.sources)) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
                    size_bytes += len(block)
                    if size_bytes > max_bytes:
                        raise VideoError(Reason.TOO_LARGE_FILE, f"more than {max_bytes} bytes; link it instead")
                    write(block)
        except FileNotFoundError as error:
            raise _of_video(row, VideoError(Reason.MISSING, "no such file; bring it back, or --rewrite")) from error
        except OSError as error:
            raise _of_video(row, VideoError(Reason.UNREADABLE, f"{error}; make it readable")) from error
        except VideoError as error:
            raise _of_video(row, error) from error
        if digest.hexdigest() != row["video_sha256"]:
            raise _of_video(row, VideoError(Reason.CHANGED, f"has SHA-256 {digest.hexdigest()}"))

    def _put(self, uri: str, content: bytes) -> str:
        filesystem, path = storage.resolve(uri)
        with writing(path):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
        self.num_files += 1
        return rewritten(uri, self._rewrite)

    def close(self) -> None:
        """End the decoder process."""
        if self._reader is not None:
            self._reader.close()


_EXTENSIONS = {"png": "png", "jpeg": "jpg"}


def _image(frame: np.ndarray, config: ExportConfig) -> bytes:
    content = io.BytesIO()
    if config.frames == "png":
        Image.fromarray(frame).save(content, "PNG")
    else:
        Image.fromarray(frame).save(content, "JPEG", quality=config.jpeg_quality, subsampling=0)
    return content.getvalue()


def _of_video(row: Row, error: VideoError) -> RowError:
    fix = _MEDIA_ERRORS.get(error.reason)
    return RowError(
        f"video_{error.reason}", "video_uri", row["video_uri"], f"{error.detail}; {fix}" if fix else error.detail
    )
