import os
from pathlib import Path

import pytest

from videopasta import storage
from videopasta.errors import UserError

ODD = os.fsdecode(b"caf\xe9 100%#?.mp4")


def test_odd_local_names_are_reversible_utf8(tmp_path: Path):
    """A name that is not UTF-8 becomes a URI that Parquet can hold, and opens the same file."""
    path = str(tmp_path / ODD)
    Path(path).write_bytes(b"content")
    uri = storage.local_uri(path)
    uri.encode()
    assert uri.startswith("file://")
    assert storage.local_path(uri) == path
    with storage.open_input(uri) as stream:
        assert stream.read() == b"content"
    assert storage.local_uri(storage.local_path(uri)) == uri


def test_plain_names_stay_plain():
    """A readable path stays readable, whatever its signs mean in a URI."""
    assert storage.local_uri("/videos/a 100%#?.mp4") == "/videos/a 100%#?.mp4"
    assert storage.local_path("/videos/a%20b.mp4") == "/videos/a%20b.mp4"
    assert storage.local_path("file:///videos/a%20b.mp4") == "/videos/a b.mp4"


@pytest.mark.parametrize(
    ("base", "part", "expected"),
    [
        ("/lists", "a.mp4", "/lists/a.mp4"),
        ("/lists", "../a.mp4", "/a.mp4"),
        ("/lists", "/b/a.mp4", "/b/a.mp4"),
        ("s3://bucket/lists", "x/a.mp4", "s3://bucket/lists/x/a.mp4"),
        ("s3://bucket", "a.mp4", "s3://bucket/a.mp4"),
        ("s3://bucket/lists?region=eu-north-1", "a.mp4", "s3://bucket/lists/a.mp4?region=eu-north-1"),
        ("/lists", "gs://other/a#1?.mp4", "gs://other/a#1?.mp4"),
    ],
)
def test_join(base: str, part: str, expected: str):
    """Relative parts go below the base, absolute ones replace it."""
    assert storage.join(base, part) == expected


def test_parent_is_the_folder():
    """Of local paths and of URIs."""
    assert storage.parent("/lists/a.txt") == "/lists"
    assert storage.parent("s3://bucket/lists/a.txt") == "s3://bucket/lists"


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_listing_and_globbing_agree_locally_and_remotely(tmp_path: Path, scheme: str):
    """Sorted, to any depth, with sizes; a remote listing names its files by uris that open."""
    for name in ("b.mp4", "a.mp4", "sub/deep/c.mp4", "note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    root = f"{scheme}{tmp_path}"
    listed = storage.list_files(root)
    assert [file.uri for file in listed] == [f"{root}/{n}" for n in ("a.mp4", "b.mp4", "note.txt", "sub/deep/c.mp4")]
    assert [file.size_bytes for file in listed] == [5, 5, 8, 14]
    assert [file.uri for file in storage.glob(f"{root}/*.mp4")] == [f"{root}/a.mp4", f"{root}/b.mp4"]
    assert [file.uri for file in storage.glob(f"{root}/**/c.mp4")] == [f"{root}/sub/deep/c.mp4"]
    with storage.open_input(listed[-1].uri) as stream:
        assert stream.read() == b"sub/deep/c.mp4"
    assert [storage.kind(uri) for uri in (root, listed[0].uri, f"{root}/none")] == [
        "folder",
        "file",
        "missing",
    ]


def test_unknown_scheme_says_what_to_do():
    """A scheme nothing speaks is the user's to mend."""
    with pytest.raises(UserError, match="nonsense"):
        storage.resolve("nonsense://bucket/a.mp4")


def test_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path: Path):
    """Its videos would be left out of the run without a word."""
    with pytest.raises(UserError, match="cannot be listed"):
        storage.list_files(str(tmp_path / "gone"))
