"""Two answers side by side: which words differ. Pure."""

import difflib
import itertools
import re
from typing import NamedTuple

_WORD = re.compile(r"\s+|[\w'’-]+|[^\w\s]")


class Part(NamedTuple):
    """A piece of an answer."""

    text: str
    differs: bool


def differing_words(one: str, other: str) -> tuple[list[Part], list[Part]]:
    """Both answers in parts; put together again they are the answers, to the last blank.

    >>> differing_words("a red ball", "a blue ball")[0]
    [Part(text='a ', differs=False), Part(text='red', differs=True), Part(text=' ball', differs=False)]
    """
    ones, others = _WORD.findall(one), _WORD.findall(other)
    matcher = difflib.SequenceMatcher(
        None, [w.casefold() for w in ones], [w.casefold() for w in others], autojunk=False
    )
    parts: tuple[list[Part], list[Part]] = ([], [])
    for tag, i, j, k, m in matcher.get_opcodes():
        for words, side in ((ones[i:j], parts[0]), (others[k:m], parts[1])):
            if words:
                side.append(Part("".join(words), tag != "equal"))
    return _joined(parts[0]), _joined(parts[1])


def _joined(parts: list[Part]) -> list[Part]:
    """Blanks between two differing words belong to them, and neighbours of a kind are one part."""
    marks = [part.differs for part in parts]
    for n in range(1, len(parts) - 1):
        marks[n] |= parts[n].text.isspace() and marks[n - 1] and marks[n + 1]
    groups = itertools.groupby(zip(parts, marks, strict=True), key=lambda one: one[1])
    return [Part("".join(part.text for part, _ in group), mark) for mark, group in groups]
