"""Why a clip could not become frames: reason codes of the quarantine, and the error that carries one."""

from enum import StrEnum


class Reason(StrEnum):
    """Reason code of a quarantined clip. Bad input is data: each code is a row, never a crash."""

    MISSING = "missing"
    """Nothing stands at the path."""
    EMPTY_FILE = "empty_file"
    """The file has zero bytes."""
    NOT_ALLOWED = "not_allowed"
    """`DecodeConfig.sources` does not let it be read: its place, scheme or host, or where its name leads."""
    UNREADABLE = "unreadable"
    """The file exists, and permissions or the disk do not let us read it."""
    NAME_TOO_LONG = "name_too_long"
    """The operating system refuses so long a name."""
    NOT_A_VIDEO = "not_a_video"
    """The content is no media file, whatever the name says: text, a folder, a pipe, a list of other files."""
    NO_VIDEO_STREAM = "no_video_stream"
    """A media file without moving pictures: audio only, cover art."""
    TRUNCATED = "truncated"
    """The file ends before what its header promises."""
    CORRUPT = "corrupt"
    """A frame we need, or one it depends on, does not decode."""
    UNSUPPORTED_CODEC = "unsupported_codec"
    """No decoder is built in for the codec."""
    UNSUPPORTED_SHAPE = "unsupported_shape"
    """One side is over 200 times the other, which Qwen2.5-VL refuses."""
    TOO_SHORT = "too_short"
    """Fewer frames than `DecodeConfig.min_frames`, or than a plan needs."""
    TOO_LONG = "too_long"
    """The span is longer than `DecodeConfig.max_duration_s`."""
    TOO_LARGE = "too_large"
    """The source frame has more pixels than `DecodeConfig.max_frame_pixels`."""
    TOO_LARGE_FILE = "too_large_file"
    """The file has more than `DecodeConfig.max_bytes`."""
    BAD_SPAN = "bad_span"
    """Start and end do not lie in the video, or in the wrong order."""
    BACKEND_REFUSED = "backend_refused"
    """The chosen backend fails on this file, or would give other frames; `pyav` may read it."""
    PLAN_MISMATCH = "plan_mismatch"
    """A stored frame plan does not fit the file's frames: the file or its decoder changed."""
    CHANGED = "changed"
    """The file is not the one that the row was made from: its content has another hash."""
    DEADLINE = "deadline"
    """Not fetched and decoded in `DecodeConfig.deadline_s`; the decoder was killed."""
    DECODER_DIED = "decoder_died"
    """The decoder process ended by itself: a crash."""
    OUT_OF_MEMORY = "out_of_memory"
    """Decoding wants more than `DecodeConfig.memory_gib`."""
    FETCH_FAILED = "fetch_failed"
    """The remote file could not be read to its end."""


class VideoError(Exception):
    """A clip that cannot be used: a reason code, a detail for people, and the content's hash when known."""

    def __init__(self, reason: Reason, detail: str, video_sha256: str | None = None) -> None:
        super().__init__(reason, detail, video_sha256)
        self.reason = reason
        self.detail = detail
        self.video_sha256 = video_sha256

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
