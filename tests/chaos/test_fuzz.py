"""Whatever file comes: frames or a reason, in time and memory, and never fewer or other frames than it has."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fuzz import CONFIG, Fuzz, Tally, make_oddities, numbers, plain_decode
from tests.clips import make_clip
from videopasta.video import DecodedClip, load_manifest


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    """One worker for all."""
    fuzz = Fuzz(tmp_path_factory.mktemp("fuzz"))
    yield fuzz
    fuzz.close()


@pytest.fixture(scope="module")
def oddities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("oddities")
    return make_oddities(folder, make_clip(folder / "sound.mp4").rename(folder / "sound").read_bytes())


def faults(tally: Tally) -> dict[str, list[str]]:
    return {kind: found for kind, found in tally.findings.items() if found}


def test_sound_files_are_accepted(fuzz: Fuzz, tmp_path: Path):
    """The samples themselves, so that refusing everything is no way to pass; and what a plain decode gives of them."""
    for sample in fuzz.samples:
        path = tmp_path / sample.name
        path.write_bytes(sample.content)
        answer = fuzz.decode(sample.name, path)
        assert isinstance(answer, DecodedClip), sample.name
        assert answer.info.num_frames == len(plain_decode(path).frames)


def test_damaged_and_lying_videos_end_as_frames_or_reasons(fuzz: Fuzz):
    """300 mutants: no crash, no hang, no flood of memory, no frame that a plain decode of the file does not give."""
    for number in numbers(seed=1, first=0, count=300):
        fuzz.video(number)
    assert faults(fuzz.tally) == {}


def test_damaged_lists_end_as_entries_or_in_words(fuzz: Fuzz):
    """300 lists: entries with uris that Parquet holds, or a `UserError`."""
    for number in numbers(seed=1, first=0, count=300):
        fuzz.manifest(number)
    assert faults(fuzz.tally) == {}


def test_oddities_of_a_file_system_have_their_reasons(fuzz: Fuzz, oddities: dict[str, tuple[Path, str]]):
    """Links, pipes, sockets, devices, holes, lists of other files: at once, none of them opened that may hang."""
    start = time.monotonic()
    told = {name: fuzz.decode(name, path) for name, (path, _) in oddities.items()}
    shown = {name: "accepted" if isinstance(answer, DecodedClip) else answer for name, answer in told.items()}
    assert shown == {name: outcome for name, (_, outcome) in oddities.items()}
    assert time.monotonic() - start < CONFIG.deadline_s
    assert faults(fuzz.tally) == {}


def test_oddities_are_entries(oddities: dict[str, tuple[Path, str]]):
    """A folder of them can be listed: folders are no videos, everything else is told by its reason later."""
    folder = next(iter(oddities.values()))[0].parent
    entries = load_manifest(str(folder))
    assert len(entries) == len(oddities) - len(["folder.mp4", "to_folder.mp4", "null\0byte.mp4"])
    for entry in entries:
        entry.uris[0].encode()
