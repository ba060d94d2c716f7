import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videopasta.errors import UserError
from videopasta.video import ManifestEntry, load_manifest, merge_duplicates, sha256_of


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def entry(path: object, start_s=None, end_s=None, *, size_bytes=None) -> ManifestEntry:
    return ManifestEntry((str(path),), start_s, end_s, size_bytes)


def test_folder_gives_its_videos_sorted(tmp_path: Path):
    """Every depth, known extensions in any case, no hidden litter."""
    touch(tmp_path, "b.MP4", "a/z.webm", "a/y.mkv", "note.txt", "._b.mp4", ".cache/c.mp4")
    (tmp_path / "folder.mp4").mkdir()
    found = load_manifest(str(tmp_path))
    assert [e.uris[0] for e in found] == [str(tmp_path / n) for n in ("a/y.mkv", "a/z.webm", "b.MP4")]
    assert found[0].size_bytes == len("a/y.mkv")


def test_glob_and_single_video(tmp_path: Path):
    """A glob gives what matches; a video gives itself, even when its name looks like a glob."""
    touch(tmp_path, "a.mp4", "b.mp4", "c[1].mp4")
    assert len(load_manifest(f"{tmp_path}/?.mp4")) == 2
    assert [e.uris[0] for e in load_manifest(f"{tmp_path}/c[1].mp4")] == [f"{tmp_path}/c[1].mp4"]


def test_text_list_keeps_its_order(tmp_path: Path):
    """Comments and blank lines skipped, relative paths from the list's folder, repeats collapsed."""
    touch(tmp_path, "z.mp4", "sub/a.mp4")
    again = f"{tmp_path}/z.mp4\nfile://{tmp_path}/z.mp4\n"
    (tmp_path / "list.txt").write_text(f"# mine\n\nz.mp4\n  sub/a.mp4  \n{again}")
    expected = [entry(tmp_path / "z.mp4", size_bytes=5), entry(tmp_path / "sub/a.mp4", size_bytes=9)]
    assert load_manifest(str(tmp_path / "list.txt")) == expected


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("video", "start", "end"), [("video", "start", "end"), ("url", "start_time", "end_s")])
def test_tables_give_spans(tmp_path: Path, kind: str, video: str, start: str, end: str):
    """Column aliases, open ends, spans that make no sense (a row's problem, later), missing files kept."""
    rows = [
        {video: "a.mp4", start: 1.5, end: 4, "other": 1},
        {video: "a.mp4", start: None, end: None, "other": 2},
        {video: "a.mp4", start: 9, end: 2, "other": 3},
        {video: "a.mp4", start: 1.5, end: 4, "other": 4},
        {video: "none.mp4", start: None, end: 3, "other": 5},
    ]
    path = tmp_path / f"list.{kind}"
    touch(tmp_path, "a.mp4")
    if kind == "csv":
        cells = [",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows]
        path.write_text("\ufeff" + ", ".join(rows[0]) + "\n" + "\n".join(cells) + "\n", encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    a = tmp_path / "a.mp4"
    assert load_manifest(str(path)) == [
        entry(a, 1.5, 4.0, size_bytes=5),
        entry(a, size_bytes=5),
        entry(a, 9.0, 2.0, size_bytes=5),
        entry(tmp_path / "none.mp4", None, 3.0),
    ]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "name,start\nx,1\n", "no video column among ['name', 'start']"),
        ("b.jsonl", '{"video": "a.mp4"}\n{"video": \n', "b.jsonl, line 2: not JSON"),
        ("c.jsonl", '{"video": "a.mp4"}\n{"name": "b"}\n', "c.jsonl, line 2: no video column"),
        ("d.jsonl", '["a.mp4"]\n', "d.jsonl, line 1"),
        ("e.csv", "video,start\na.mp4,1\nb.mp4,soon\n", "e.csv, line 3: start='soon' is no number"),
        ("f.csv", "video,end\na.mp4,nan\n", "f.csv, line 2: end='nan'"),
        ("g.csv", "video,start\n,1\n", "g.csv, line 2: the video is empty"),
        ("h.parquet", "no parquet", "h.parquet: not Parquet"),
        ("i.txt", "# nothing\n", "no videos found"),
        ("j.doc", "x", "neither a known video"),
        ("k.jsonl", '{"video": "\\ud800.mp4"}\n', "k.jsonl, line 1: video='\\ud800.mp4' is no path"),
        ("l.jsonl", '{"video": ["a.mp4"]}\n', "l.jsonl, line 1: video=['a.mp4'] is no path"),
        ("m.jsonl", "[" * 100_000, "m.jsonl, line 1: not JSON"),
        ("n.jsonl", '{"video": "a.mp4", "end": 1' + "0" * 400 + "}", "n.jsonl, line 1: end=1"),
        ("o.csv", "video,start\n" + "x" * 200_000 + ",1\n", "o.csv, line 1: not CSV"),
    ],
)
def test_bad_list_names_file_line_value_and_fix(tmp_path: Path, name: str, content: str, says: str):
    """What the user can mend is told, with its place."""
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        load_manifest(str(tmp_path / name))
    assert says in str(caught.value)


def test_nothing_to_do_is_the_users_to_mend(tmp_path: Path):
    """A folder or glob without videos and a path that does not exist."""
    for path in (tmp_path, f"{tmp_path}/*.mp4", tmp_path / "none.mp4"):
        with pytest.raises(UserError):
            load_manifest(str(path))


def test_odd_names_make_entries(tmp_path: Path):
    """Names that are not UTF-8 and paths that are too long are entries with uris that Parquet can hold."""
    touch(tmp_path, "plain.mp4")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).write_bytes(b"x")
    uris = [e.uris[0] for e in load_manifest(str(tmp_path))]
    assert uris == [f"{tmp_path}/plain.mp4", f"file://{tmp_path}/caf%E9.mp4"]
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"caf\xe9.mp4\n" + b"x" * 5000 + b".mp4\n")
    first, second = load_manifest(str(listed))
    assert first.uris[0] == uris[1]
    assert second.size_bytes is None
    pa.array([*uris, second.uris[0]])


def test_equal_content_merges_and_equal_size_does_not(tmp_path: Path):
    """One entry per content and span, at the first one's place, knowing every uri; only rivals are hashed."""
    contents = {"a": b"same", "b": b"diff", "c": b"same", "d": b"longer", "e": b"", "f": b""}
    for name, content in contents.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
    hashed = []

    def hash_fn(uri: str) -> str:
        hashed.append(uri[-5:])
        return sha256_of(uri)

    entries = [*load_manifest(str(tmp_path)), entry(tmp_path / "c.mp4", 0.0, 1.0, size_bytes=4)]
    merged = merge_duplicates(entries, hash_fn)
    assert [[uri[-5] for uri in e.uris] for e in merged] == [["a", "c"], ["b"], ["d"], ["e"], ["f"], ["c"]]
    assert hashed == ["a.mp4", "b.mp4", "c.mp4"]


def test_files_over_the_limit_are_not_hashed(tmp_path: Path):
    """Reading two holes of a terabyte to see that they are equal would take the afternoon."""
    for name in "ab":
        with (tmp_path / f"{name}.mp4").open("wb") as file:
            file.truncate(2**40)
    entries = load_manifest(str(tmp_path))
    assert merge_duplicates(entries, sha256_of, max_bytes=2**30) == entries


def test_unhashable_files_stay_as_they_are(tmp_path: Path):
    """A file that vanishes before it is hashed is still an entry."""
    touch(tmp_path, "a.mp4", "b.mp4")
    entries = load_manifest(str(tmp_path))
    (tmp_path / "a.mp4").unlink()
    assert merge_duplicates(entries, sha256_of) == entries
