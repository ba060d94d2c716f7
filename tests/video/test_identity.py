from videopasta.video import clip_id

SHA = "ab" * 32


def test_clip_id_is_stable():
    """Ids are stored in rows: these may never change."""
    assert clip_id(SHA, None, None) == "d533d22e67d2ac28d411574d"
    assert clip_id(SHA, 1.5, 3.0) == "289831daf9dce4486ffc9342"


def test_clip_id_tells_spans_apart_by_the_millisecond():
    """Other content or another span is another clip; below a millisecond, and from 0 on, it is the same."""
    ids = {clip_id(SHA, start, end) for start, end in ((None, None), (0, None), (None, 1), (0, 1), (0, 1.001))}
    assert len(ids | {clip_id("cd" * 32, None, None)}) == 4
    assert clip_id(SHA, 1 / 3, 2 / 3) == clip_id(SHA, 0.3333, 0.6667)
