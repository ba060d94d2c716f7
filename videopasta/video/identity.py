"""Names made of content: the same clip has the same id wherever its file lies. Pure."""

import hashlib


def clip_id(video_sha256: str, start_s: float | None, end_s: float | None) -> str:
    """Stable id of a clip: 24 hex digits of the video's content hash and its span in milliseconds.

    Args:
        video_sha256: SHA-256 of the video's content, in hex.
        start_s: start of the span in seconds as the manifest gives it; None is the video's start.
        end_s: end of the span in seconds as the manifest gives it; None is the video's end.
    """
    span = "-".join("" if at is None else str(round(at * 1000)) for at in (start_s or None, end_s))
    return hashlib.sha256(f"clip {video_sha256} {span}".encode()).hexdigest()[:24]
