"""What models write where JSON was asked for: the right keys with anything in them, other JSON, and no JSON."""

import json

from hypothesis import strategies as st

_TEXTS = st.text(st.characters(), max_size=30)  # lone halves of surrogate pairs among them
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)


def answer_texts(*keys: str) -> st.SearchStrategy[str]:
    """Answers that should be an object with `keys`."""
    likely = st.fixed_dictionaries({}, optional=dict.fromkeys(keys, _VALUES | st.booleans() | st.lists(_TEXTS)))
    written = st.builds(json.dumps, likely | _VALUES, ensure_ascii=st.booleans())
    fenced = st.builds("{}```json\n{}\n```{}".format, _TEXTS, written, _TEXTS)
    cut = st.builds(lambda text, share: text[: int(len(text) * share)], written, st.floats(0, 1))
    return written | fenced | cut | _TEXTS
