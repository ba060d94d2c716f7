"""The frames of the clip that is looked at, as JPEGs; decoded once for its candidates and all who look at them."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from videopasta.config import DecodeConfig
from videopasta.pictures import FrameLoader, jpeg
from videopasta.video import FramePlan, VideoError

View = Literal["chosen", "rejected"]
VIEWS: tuple[View, ...] = ("chosen", "rejected")
_NUM_KEPT = 16  # clips with their plans: about 2 MB each


@dataclass(frozen=True)
class Filmstrips:
    """Of a candidate: per answer the frames on which it was given; or why there are none."""

    pictures: Mapping[View, tuple[bytes, ...]]
    problem: str = ""


class FilmstripMaker:
    """For several threads; decodes one clip at a time."""

    def __init__(self, decode: DecodeConfig) -> None:
        self._loader = FrameLoader(decode)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], Filmstrips] = OrderedDict()

    def make(self, row: Mapping[str, Any]) -> Filmstrips:
        """The filmstrips of a candidate."""
        plans = [FramePlan.from_dict(row[f"{view}_frame_plan"]).key for view in VIEWS]
        key = (row["clip_id"], *plans)
        with self._lock:
            made = self._kept.pop(key, None) or self._decode(row)
            self._kept[key] = made
            while len(self._kept) > _NUM_KEPT:
                self._kept.popitem(last=False)
            return made

    def _decode(self, row: Mapping[str, Any]) -> Filmstrips:
        try:
            clip = self._loader.load(row, {view: row[f"{view}_frame_plan"] for view in VIEWS})
        except VideoError as error:
            return Filmstrips({}, f"{error.reason}: {error.detail}")
        except RuntimeError as error:  # a mistake of ours that this file brings out: the pair can be decided without
            return Filmstrips({}, f"decoder_error: {error}")
        return Filmstrips({view: tuple(jpeg(frame) for frame in clip.frames[clip.plans[view].key]) for view in VIEWS})

    def close(self) -> None:
        """End the decoder process."""
        self._loader.close()
