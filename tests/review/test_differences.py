from hypothesis import given
from hypothesis import strategies as st

from videopasta.review.differences import differing_words

ANSWERS = st.text(st.characters() | st.sampled_from("ab \n'.,"), max_size=40)


@given(ANSWERS, ANSWERS)
def test_parts_put_together_are_the_answers(one: str, other: str):
    """Of any script, to the last blank."""
    ones, others = differing_words(one, other)
    assert ("".join(part.text for part in ones), "".join(part.text for part in others)) == (one, other)


@given(ANSWERS)
def test_equal_answers_have_no_marks(answer: str):
    """Nor do those that differ in case alone."""
    assert not any(part.differs for parts in differing_words(answer, answer.upper().lower()) for part in parts) or (
        answer.casefold() != answer.upper().lower().casefold()
    )


def test_words_are_marked_whole_and_together():
    """A letter that differs marks its word; two that follow each other are one mark."""
    ones, others = differing_words("The cup is to the left of it.", "The cup is partly in front of it.")
    assert [part.text for part in ones if part.differs] == ["to the left"]
    assert [part.text for part in others if part.differs] == ["partly in front"]
    assert [part.text for part in differing_words("a cat", "a car")[0] if part.differs] == ["cat"]
