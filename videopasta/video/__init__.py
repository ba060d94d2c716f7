"""From videos to frames.

The road: `load_manifest` lists the clips; `DecodeWorker` takes each through `decode_clip` in a process that
can be killed; that probes the file (`probe.py`), picks the frames (`plan.py`), and decodes them exactly
(`backends/`). What cannot be used ends in a `VideoError` with a `Reason`. Pure: `plan.py`, `seek.py`,
`identity.py`. Importing this imports no decoder, no torch, no Ray.
"""

from videopasta.video.decode import ClipRequest, DecodedClip, decode_clip, sha256_of
from videopasta.video.errors import Reason, VideoError
from videopasta.video.identity import clip_id
from videopasta.video.manifest import ManifestEntry, load_manifest, merge_duplicates
from videopasta.video.plan import FramePlan, FrameTable, frame_size, make_plan
from videopasta.video.probe import VideoInfo
from videopasta.video.reader import FrameReader
from videopasta.video.sources import check_source
from videopasta.video.worker import DecodeWorker, decode_stored

__all__ = [
    "ClipRequest",
    "DecodeWorker",
    "DecodedClip",
    "FramePlan",
    "FrameReader",
    "FrameTable",
    "ManifestEntry",
    "Reason",
    "VideoError",
    "VideoInfo",
    "check_source",
    "clip_id",
    "decode_clip",
    "decode_stored",
    "frame_size",
    "load_manifest",
    "make_plan",
    "merge_duplicates",
    "sha256_of",
]
