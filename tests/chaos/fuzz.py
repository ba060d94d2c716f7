"""Feeds damaged and lying files to the decode worker and to the manifest, and counts how each ends.

    python -m tests.chaos.fuzz --mutants 10000 --seed 0 --json benchmarks/results/fuzz.json

A file may end as frames or as a `VideoError`, by the deadline and within the memory limit; a list as entries or as a
`UserError`. Counted beside the outcomes are

crash           anything else came out of the worker, or a detail that a row cannot hold
hang            the answer came more than `SLACK_S` after the deadline
over memory     the decoder process was larger than the limit and what it can take until it is killed
silent partial  frames were accepted that somebody who looks at the whole file would not accept:
                - a frame is not, pixel for pixel, the one of that index in a plain decode of the whole file from its
                  start, each error raised (after an error: the one of that time),
                - or the file's own header, where it is of one mind, declares more frames,
                - or the file lost bytes (`DAMAGE`), and frames with them: the sound one has more
untold          frames lost with bytes in formats that count nothing, MPEG streams and WMV: most is told, not all. A
                plain decode gives the same frames: these are shorter videos
unnoticed       damage that no decoder sees: the accepted pixels are what a plain decode gives without an error, and
                not those of the sound file. h264 and its like carry no checksums, so there is no help but counting

The plain decode here knows no packet table, no seeks and no skips, and shares only the resize with the code under test.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import socket
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._common import machine, write_json
from tests.chaos.mutants import Mutant, Sample, damage_text, make_mutant
from tests.clips import make_clip, set_display_matrix
from videopasta import storage
from videopasta.config.video import DecodeConfig, FpsPlan, PixelBudget, UniformPlan
from videopasta.errors import UserError
from videopasta.video import ClipRequest, DecodedClip, DecodeWorker, Reason, VideoError, load_manifest
from videopasta.video.resize import Resizer

SLACK_S = 2.0
FAULTS = ("crash", "hang", "over_memory", "silent_partial")
"""What must not be."""
LIMITS = ("untold", "unnoticed")
"""What nobody sees in the file alone."""
PLANS = {"dense": UniformPlan(num_frames=32), "sparse": FpsPlan(fps=1.0)}
CONFIG = DecodeConfig(
    pixels=PixelBudget(min_pixels=28 * 28, max_pixels=128 * 28 * 28),
    min_frames=2,
    max_frame_pixels=1920 * 1080,
    max_bytes=2**24,
    memory_gib=0.5,
    deadline_s=8.0,
)
_BETWEEN_LOOKS_MIB = 250  # the worker looks 20 times a second, and memory is filled at 4 GB/s
_MEMORY_MIB = CONFIG.memory_gib * 1024 + _BETWEEN_LOOKS_MIB
_LONGEST_DETAIL = 4000


@dataclass
class Tally:
    """How the mutants ended."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By mutator: `accepted` or a reason."""
    findings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By `FAULTS`: which, and what of it."""
    limits: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By `LIMITS`: how often, by sample."""
    slowest_s: float = 0.0
    peak_mib: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        reasons: Counter[str] = Counter()
        for counts in self.outcomes.values():
            reasons.update(counts)
        return {
            "reasons": dict(reasons.most_common()),
            "outcomes": {name: dict(counts.most_common()) for name, counts in sorted(self.outcomes.items())},
            "slowest_s": round(self.slowest_s, 2),
            "peak_mib": round(self.peak_mib),
            **{name: self.findings[name] for name in FAULTS},
            **{name: dict(self.limits[name].most_common()) for name in LIMITS},
        }


@dataclass(frozen=True)
class PlainDecode:
    """The whole file from its start, one frame after the other."""

    frames: list[np.ndarray]
    """uint8 (H, W, 3), as stored."""
    times_s: list[float | None]
    """Since the first one."""
    num_hidden: int
    """Frames that an edit list leaves out, or that are empty: the one before is shown again."""
    num_errors: int
    num_declared: int | None
    """Frames by the header; None where it tells none, or contradicts itself."""

    def find(self, index: int, time_s: float) -> np.ndarray | None:
        """The frame of that index; after an error indices are not known, and it is the one of that time."""
        if self.num_errors:
            near = [n for n, at in enumerate(self.times_s) if at is not None and abs(at - time_s) < 1e-3]
            index = near[0] if near else len(self.frames)
        return self.frames[index] if index < len(self.frames) else None


def plain_decode(path: Path) -> PlainDecode:
    """Decode strictly; a packet that does not decode is counted and passed over."""
    frames: list[np.ndarray] = []
    times: list[Fraction | None] = []
    num_packets = num_errors = 0
    declared = None
    try:
        with av.open(str(path), options={"ignore_editlist": "1"}, metadata_errors="replace") as container:
            num_packets = sum(packet.dts is not None for packet in container.demux(container.streams.best("video")))
        with av.open(str(path), options={"err_detect": "explode"}, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            stream.thread_type = "NONE"
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    num_errors += 1
                    continue
                num_errors += any(frame.is_corrupt for frame in decoded)
                frames += [frame.to_ndarray(format="rgb24") for frame in decoded]
                times += [None if frame.pts is None else frame.pts * stream.time_base for frame in decoded]
            declared = _declared(container, stream)
    except (av.FFmpegError, IndexError):
        num_errors += 1
    start = next((at for at in times if at is not None), 0)
    times_s = [None if at is None else float(at - start) for at in times]
    return PlainDecode(frames, times_s, max(0, num_packets - len(frames)), num_errors, declared)


def _declared(container: Any, stream: Any) -> int | None:
    """By its count, where that is its length times its rate: of MP4, the others have no two numbers for it."""
    if "mp4" not in container.format.name or not stream.duration or not stream.average_rate:
        return None
    by_time = round(stream.duration * stream.time_base * stream.average_rate)
    return stream.frames if abs(by_time - stream.frames) <= 1 else None


def what_is_wrong(mutant: Mutant, clip: DecodedClip, path: Path, sound: PlainDecode) -> tuple[str, str] | None:
    """`silent_partial`, `untold` or `unnoticed`, and why; None for frames as they should be."""
    plain = plain_decode(path)
    if not plain.num_errors and clip.info.num_frames != len(plain.frames):
        return "silent_partial", f"{clip.info.num_frames} frames, a plain decode gives {len(plain.frames)}"
    if plain.num_declared is not None and clip.info.num_frames + plain.num_hidden < plain.num_declared:
        return "silent_partial", f"{clip.info.num_frames} frames, the header declares {plain.num_declared}"
    unlike_sound = None
    for plan in clip.plans.values():
        resize = Resizer(plan.height, plan.width)
        for index, time_s, seen in zip(plan.indices, plan.timestamps_s, clip.frames[plan.key], strict=True):
            frame = plain.find(index, time_s)
            if frame is None or not np.array_equal(resize(_turned(frame, clip)), seen):
                why = "is missing" if frame is None else "differs"
                return "silent_partial", f"frame {index} at {time_s:.3f} s {why} in a plain decode"
            if index < len(sound.frames) and not np.array_equal(frame, sound.frames[index]):
                unlike_sound = unlike_sound or f"frame {index}"
    if not mutant.is_damage:
        return None
    if clip.info.num_frames + plain.num_hidden < len(sound.frames):
        kind = "untold" if mutant.sample.suffix in (".ts", ".mpg", ".wmv") else "silent_partial"
        return kind, f"{clip.info.num_frames} frames, {len(sound.frames)} in the sound file"
    if unlike_sound and clip.info.num_frames == len(sound.frames):
        return "unnoticed", unlike_sound
    return None


def _turned(frame: np.ndarray, clip: DecodedClip) -> np.ndarray:
    frame = np.rot90(frame, -clip.info.rotation // 90)
    return np.ascontiguousarray(frame[:, ::-1] if clip.info.mirrored else frame)


def make_samples(folder: Path) -> list[Sample]:
    """Small sound files of the common containers and codecs."""

    def render(name: str, muxer_options: Mapping[str, str] | None = None, **clip: Any) -> None:
        # Without bitexact, Matroska gets ids from the clock: the mutants would be others in every run.
        make_clip(folder / name, muxer_options={"fflags": "+bitexact", **(muxer_options or {})}, **clip)

    b_frames = {"g": "20", "bf": "2"}
    render("index_first.mp4", {"movflags": "+faststart"}, options=b_frames)
    render("index_last.mp4", options=b_frames)
    render("long.mp4", num_frames=240, options={"g": "60", "bf": "2"})
    render("pieces.mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}, options=b_frames)
    render("hevc.mp4", codec="libx265", options={"x265-params": "log-level=none:keyint=20"})
    render("h264.mkv", options=b_frames)
    render("long.mkv", num_frames=240, options={"g": "60", "bf": "2"})
    render("vp9.webm", codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8", "g": "20"})
    render("mpeg4.avi", codec="mpeg4", options={"g": "20"})
    render("b_frames.avi", options=b_frames)
    render("h264.mov", options=b_frames)
    render("mjpeg.mov", num_frames=30, codec="mjpeg", pix_fmt="yuvj420p")
    render("mpeg2.ts", codec="mpeg2video", options={"bf": "2", "g": "15", "q": "2"})
    render("h264.flv", options=b_frames)
    render("mpeg1.mpg", codec="mpeg1video", options={"bf": "2", "g": "15", "q": "2"})
    render("wmv2.wmv", codec="wmv2", options={"g": "15"})
    render("av1.webm", codec="libsvtav1", options={"preset": "12", "g": "20"})
    render("turned.mp4", options=b_frames)
    set_display_matrix(folder / "turned.mp4", 0, 1, -1, 0)
    return [Sample(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


class Fuzz:
    """One worker, one folder, one tally."""

    def __init__(self, folder: Path, keep: Path | None = None) -> None:
        self.tally = Tally()
        self._folder = folder
        self._keep = keep
        self._worker = DecodeWorker(CONFIG)
        self._largest_before = _largest_child_kib()
        (folder / "samples").mkdir()
        self.samples = make_samples(folder / "samples")
        self._sound = {}
        for sample in self.samples:
            path = folder / f"sound{sample.suffix}"
            path.write_bytes(sample.content)
            self._sound[sample.name] = plain_decode(path)

    def close(self) -> None:
        """End the decoder."""
        self._worker.close()

    def video(self, number: object) -> str:
        """One mutant: `accepted` or its reason."""
        mutant = make_mutant(number, self.samples)
        path = self._folder / f"mutant{mutant.sample.suffix}"
        path.write_bytes(mutant.content)
        name = f"{number} {mutant.mutator} of {mutant.sample.name}"
        answer = self.decode(name, path)
        outcome = "accepted" if isinstance(answer, DecodedClip) else str(answer)
        if isinstance(answer, DecodedClip):
            wrong = what_is_wrong(mutant, answer, path, self._sound[mutant.sample.name])
            if wrong and wrong[0] in LIMITS:
                self.tally.limits[wrong[0]][mutant.sample.name] += 1
            elif wrong:
                self._find(wrong[0], f"{name}: {wrong[1]}", path)
        self.tally.outcomes[mutant.mutator][outcome] += 1
        return outcome

    def decode(self, name: str, path: Path) -> DecodedClip | Reason | str:
        """What the worker says of a file: a clip, a reason, or the name of the error that nobody expects."""
        answer: DecodedClip | Reason | str
        started = time.monotonic()
        try:
            answer = self._worker.decode(ClipRequest(storage.local_uri(str(path)), None, None, PLANS, CONFIG))
        except VideoError as error:
            answer = error.reason
            if len(error.detail) > _LONGEST_DETAIL or not _is_storable(error.detail):
                self._find("crash", f"{name}: a detail that no row holds: {error.detail[:200]!r}", path)
        except Exception as error:
            answer = type(error).__name__
            self._find("crash", f"{name}: {error!r}"[-600:], path)
        took_s = time.monotonic() - started
        if took_s > CONFIG.deadline_s + SLACK_S:
            self._find("hang", f"{name}: {took_s:.1f} s", path)
        peak_mib = self._peak_mib()
        if peak_mib > max(_MEMORY_MIB, self.tally.peak_mib):
            self._find("over_memory", f"{name}: {peak_mib:.0f} MiB", path)
            self._worker.close()
        self.tally.slowest_s = max(self.tally.slowest_s, took_s)
        self.tally.peak_mib = max(self.tally.peak_mib, peak_mib)
        return answer

    def manifest(self, number: object) -> str:
        """One damaged list: `entries` or `UserError`."""
        kinds = {".txt": self._txt, ".csv": self._csv, ".jsonl": self._jsonl, ".parquet": self._parquet}
        suffix = random.Random(str(number)).choice(list(kinds))
        path = self._folder / f"list{suffix}"
        path.write_bytes(damage_text(number, kinds[suffix]()))
        try:
            entries = load_manifest(str(path))
            outcome = "entries"
            for entry in entries:
                if not all(map(_is_storable, entry.uris)):
                    self._find("crash", f"{number} {suffix}: a uri that no row holds: {entry.uris!r}", path)
        except UserError:
            outcome = "UserError"
        except Exception as error:
            outcome = type(error).__name__
            self._find("crash", f"{number} {suffix}: {error!r}"[:600], path)
        self.tally.outcomes[f"list{suffix}"][outcome] += 1
        return outcome

    def _find(self, kind: str, what: str, path: Path) -> None:
        self.tally.findings[kind].append(what)
        if self._keep and path.is_file():
            self._keep.mkdir(parents=True, exist_ok=True)
            (self._keep / f"{kind}-{what.split()[0].replace('/', '.')}{path.suffix}").write_bytes(path.read_bytes())

    def _peak_mib(self) -> float:
        """The most that a decoder process has held so far."""
        ended = _largest_child_kib()
        # Of those that ended, the system keeps the largest only; and a child counts with what its parent held when it
        # was started.
        if ended <= max(self._largest_before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss):
            ended = 0
        status = Path(f"/proc/{self._worker.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        alive = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        return max([ended, *alive]) / 1024

    @staticmethod
    def _txt() -> bytes:
        return "# mine\na.mp4\nsub/b.mp4\n/abs/ü.mkv\ns3://bucket/c.mp4\nfile:///d%20e.mp4\n".encode()

    @staticmethod
    def _csv() -> bytes:
        return b'video,start,end,note\na.mp4,1.5,4,"x, y"\nb.mp4,,,\n"c, d.mp4",0,1e3,z\n'

    @staticmethod
    def _jsonl() -> bytes:
        return b'{"video": "a.mp4", "start": 1, "end": 2.5}\n{"path": "b.mp4", "more": {"x": [1, null]}}\n{"url": "s3://b/c.mp4"}\n'

    @staticmethod
    def _parquet() -> bytes:
        sink = pa.BufferOutputStream()
        rows = [{"video": f"{n}.mp4", "start": n / 2, "end": n + 1.0, "note": "x" * n} for n in range(20)]
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue().to_pybytes()


def _largest_child_kib() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def _is_storable(text: str) -> bool:
    """Whether Parquet holds it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_oddities(folder: Path, sound: bytes) -> dict[str, tuple[Path, str]]:
    """Things that stand in folders under names of videos, and what is to be said of each."""
    odd: dict[str, tuple[Path, str]] = {}

    def add(name: str, outcome: str) -> Path:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + os.fsencode(name)))
        odd[repr(name)[:40]] = (path, outcome)
        return path

    add("whole.mp4", "accepted").write_bytes(sound)
    add("link.mp4", "accepted").symlink_to(folder / "whole.mp4")
    add("dangling.mp4", Reason.MISSING).symlink_to(folder / "nothing.mp4")
    add("loop.mp4", Reason.UNREADABLE).symlink_to(folder / "loop.mp4")
    os.mkfifo(add("pipe.mp4", Reason.NOT_A_VIDEO))
    add("to_pipe.mp4", Reason.NOT_A_VIDEO).symlink_to(folder / "pipe.mp4")
    add("folder.mp4", Reason.NOT_A_VIDEO).mkdir()
    add("socket.mp4", Reason.NOT_A_VIDEO)
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(folder):
        server.bind("socket.mp4")  # whose name has 107 characters at most
    for device in ("zero", "null", "random"):
        add(f"{device}.mp4", Reason.NOT_A_VIDEO).symlink_to(f"/dev/{device}")
    add("null\0byte.mp4", Reason.MISSING)
    add("to_folder.mp4", Reason.NOT_A_VIDEO).symlink_to("/")
    add("proc.mp4", Reason.EMPTY_FILE).symlink_to("/proc/self/maps")
    with add("sparse.mp4", Reason.TOO_LARGE_FILE).open("wb") as file:
        file.truncate(2**40)
    with add("holes.mp4", Reason.NOT_A_VIDEO).open("wb") as file:
        file.truncate(2**23)
    for name in ("two\nlines.mp4", "tab\t.mp4", " spaces .mp4", "per%cent%20.mp4", "wild*[x]?.mp4", "qu'o\"te#?a=b.mp4",
                 "caf\udce9.mp4", "\udcff\udcfe.mp4", "right\u202eto left.mp4", "-option.mp4", "x" * 251 + ".mp4",
                 "%03d.mp4", "file:whole.mp4", "concat:a|b.mp4"):  # fmt: skip
        add(name, "accepted").write_bytes(sound)
    for name, text in {
        "concat.mp4": "ffconcat version 1.0\nfile whole.mp4\n",
        "playlist.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nwhole.mp4\n#EXT-X-ENDLIST\n",
        "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "manifest.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>',
        "page.mp4": "<!DOCTYPE html><html><body>404</body></html>",
    }.items():
        add(name, Reason.NOT_A_VIDEO).write_text(text)
    return odd


def merged(*results: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of a run as one."""
    tally = Tally(slowest_s=max(r["slowest_s"] for r in results), peak_mib=max(r["peak_mib"] for r in results))
    for result in results:
        for name, counts in result["outcomes"].items():
            tally.outcomes[name].update(counts)
        for kind in FAULTS:
            tally.findings[kind] += result[kind]
        for kind in LIMITS:
            tally.limits[kind].update(result[kind])
    return tally.to_dict()


def numbers(seed: int, first: int, count: int) -> Iterator[str]:
    """Of mutants: they are the same however a run is divided."""
    yield from (f"{seed}/{first + n}" for n in range(count))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mutants", type=int, default=300, help="of videos; a fifth as many lists (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="go on with this one: adds to what --json holds")
    parser.add_argument("--keep", type=Path, help="a folder for the files that were found out")
    parser.add_argument("--json", type=Path, help="write the result here as well")
    args = parser.parse_args()
    av.logging.set_level(None)
    with tempfile.TemporaryDirectory(prefix="videopasta-fuzz-") as folder:
        fuzz = Fuzz(Path(folder), args.keep)
        for number in numbers(args.seed, args.first, args.mutants):
            fuzz.video(number)
        for number in numbers(args.seed, args.first // 5, args.mutants // 5):
            fuzz.manifest(number)
        fuzz.close()
    result = fuzz.tally.to_dict()
    for name, value in result.items():
        print(f"{name}: {value if not isinstance(value, list) else len(value)}")
        for finding in value if isinstance(value, list) else ():
            print(f"  {finding}")
    if args.first and args.json:
        result = merged(json.loads(args.json.read_text()), result)
    whole = {"mutants": args.first + args.mutants, "seed": args.seed, "samples": [one.name for one in fuzz.samples]}
    write_json(args.json, {"machine": machine(), **whole, **result})
    sys.exit(any(result[kind] for kind in FAULTS))


if __name__ == "__main__":
    main()
