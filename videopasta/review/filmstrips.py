"""The frames of the clip that is looked at, as JPEGs; decoded once for its candidates and all who look at them.

Why there are none is kept for nobody: a file that was missing may be there when the page is loaded again.
"""

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
    """Of a candidate: per answer the frames on which it was given, where they are known; or why there are none."""

    pictures: Mapping[View, tuple[bytes, ...]]
    problem: str = ""


class FilmstripMaker:
    """For several threads; decodes one clip at a time."""

    def __init__(self, decode: DecodeConfig) -> None:
        self._loader = FrameLoader(decode)
        self._decoding = threading.Lock()
        self._lock = threading.Lock()  # of what is kept: who has its frames waits for no other clip
        self._kept: OrderedDict[tuple[object, ...], Filmstrips] = OrderedDict()

    def make(self, row: Mapping[str, Any]) -> Filmstrips:
        """The filmstrips of a candidate."""
        # Of imported pairs one alone may be known.
        plans: dict[str, Mapping[str, Any]] = {view: plan for view in VIEWS if (plan := row[f"{view}_frame_plan"])}
        key = (row["clip_id"], *((view, FramePlan.from_dict(plan).key) for view, plan in plans.items()))
        if made := self._known(key):
            return made
        with self._decoding:
            made = self._known(key) or self._decode(row, plans)  # another thread may have made it while this one waited
            if not made.problem:
                self._keep(key, made)
            return made

    def _known(self, key: tuple[object, ...]) -> Filmstrips | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[object, ...], made: Filmstrips) -> None:
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > _NUM_KEPT:
                self._kept.popitem(last=False)

    def _decode(self, row: Mapping[str, Any], plans: Mapping[str, Mapping[str, Any]]) -> Filmstrips:
        try:
            clip = self._loader.load(row, plans)
        except VideoError as error:
            return Filmstrips({}, f"{error.reason}: {error.detail}")
        except RuntimeError as error:  # a mistake of ours that this file brings out: the pair can be decided without
            return Filmstrips({}, f"decoder_error: {error}")
        return Filmstrips(
            {view: tuple(jpeg(frame) for frame in clip.frames[clip.plans[view].key]) for view in VIEWS if view in plans}
        )

    def close(self) -> None:
        """End the decoder process."""
        self._loader.close()
