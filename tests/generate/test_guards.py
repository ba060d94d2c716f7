import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from videopasta.config.generate import GuardsConfig
from videopasta.generate.guards import check_answer, check_pair, words

GUARDS = GuardsConfig()
# No word of one list is in the other, and none begins a refusal.
FIRST = st.sampled_from(["red", "dog", "walks", "left", "slowly", "door"])
SECOND = st.sampled_from(["blue", "cat", "sits", "right", "quickly", "wall"])
ANSWERS = st.lists(FIRST | SECOND, min_size=2, max_size=12).map(" ".join)
ANY_TEXT = st.text(max_size=40) | ANSWERS


@given(ANY_TEXT, ANY_TEXT)
def test_order_of_the_answers_does_not_decide(first: str, second: str):
    """A pair is usable whichever answer is called preferred; usable answers have one reason."""
    one, other = check_pair(first, second, GUARDS), check_pair(second, first, GUARDS)
    assert (one is None) == (other is None)
    if check_answer(first, GUARDS) is None and check_answer(second, GUARDS) is None:
        assert one == other


@given(st.lists(FIRST, min_size=2, max_size=12), st.sampled_from([". ", " - ", ", ", "  ", "!\n"]))
def test_case_and_punctuation_make_no_other_answer(answer: list[str], separator: str):
    """Answers that differ in signs alone are identical."""
    assert check_pair(" ".join(answer), separator.join(answer).upper() + "!", GUARDS) == "identical"


@given(st.lists(FIRST, min_size=2, max_size=6), st.lists(SECOND, max_size=6), st.lists(SECOND, max_size=6))
def test_answer_within_the_other_is_dropped(inner: list[str], before: list[str], after: list[str]):
    """Whatever stands around it; and not when the check is off."""
    assume(before or after)
    whole = " ".join([*before, *inner, *after])
    assert check_pair(" ".join(inner), whole, GUARDS) == "containment"
    off = GuardsConfig(drop_containment=False, max_length_ratio=100)
    assert check_pair(" ".join(inner), whole, off) is None


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("man runs", "woman runs fast"),
        ("an art", "plan arty"),
        ("the red car stops", "the red cars stop here"),
        ("he is here", "he is not here"),
    ],
)
def test_containment_is_of_whole_words_in_a_row(short: str, long: str):
    """A part of a word, or words with others between, is no containment."""
    assert check_pair(short, long, GUARDS) is None


@given(st.integers(1, 12))
def test_length_ratio_of_exactly_the_limit_passes(half: int):
    """1.5 is allowed, one word more is not."""
    short = " ".join(["red"] * 2 * half)
    assert check_pair(short, " ".join(["blue"] * 3 * half), GUARDS) is None
    assert check_pair(short, " ".join(["blue"] * (3 * half + 1)), GUARDS) == "length_ratio"


@pytest.mark.parametrize(("text", "reason"), [("", "empty"), ("...", "empty"), ("Yes.", "empty"), ("Yes, left.", None)])
def test_answer_of_too_few_words_is_empty(text: str, reason: str | None):
    """Signs are no words."""
    assert check_answer(text, GUARDS) == reason


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I can’t see the video.",
        "Sorry, I cannot tell.",
        "I am sorry, it is too dark.",
        "I cannot determine which comes first.",
        "I can't see a dog in this video.",
        "I don't know what happens.",
        "I don’t see any cup.",
        "I do not know the answer.",
        "I am unable to determine the order of events.",
        "I'm not able to watch videos.",
        "As an AI language model, I have no eyes.",
        "Unable to determine from the video.",
        "It is not possible to tell from the video.",
        "It's impossible to say who left first.",
        "The video does not provide any information about it.",
        "The video doesn't show enough of the room.",
        "Good question. Unfortunately so. I cannot tell.",
        "i cannot answer that",
    ],
)
def test_refusal_is_seen(text: str):
    """However it is spelled, at the start of any sentence; and kept when the check is off."""
    assert check_answer(text, GUARDS) == "refusal"
    assert check_answer(text, GuardsConfig(drop_refusals=False)) is None


@pytest.mark.parametrize(
    "text",
    [
        "The man says sorry to the woman.",
        "He shows that he cannot see the ball.",
        "The woman is unable to open the door.",
        "As an airplane takes off, the crowd waves.",
        "As an aide hands her the bowl, she stirs.",
        "I can see a red cup on the left.",
        "The sign says: I don't know.",
        "The video does not show any change of place.",
        "It is impossible for the car to pass, so it waits.",
        "The girl tells that as an AI engineer she works late.",
        "A sorry-looking dog lies on the floor.",
    ],
)
def test_near_refusal_is_an_answer(text: str):
    """The words of a refusal can be what the video is about."""
    assert check_answer(text, GUARDS) is None


@given(ANSWERS)
def test_reason_comes_from_either_answer(answer: str):
    """A refusal makes no pair on whichever side."""
    refusal = "I cannot tell that."
    assert check_pair(answer, refusal, GUARDS) == "refusal"
    assert check_pair(refusal, answer, GUARDS) == "refusal"


def test_words_keep_apostrophes_and_other_scripts():
    """A word is what a reader calls one."""
    assert words("The dog’s bowl, isn't   RED?") == ["the", "dog’s", "bowl", "isn't", "red"]
    assert words("Ünï çödé 東京 42") == ["ünï", "çödé", "東", "京", "42"]


def test_answer_that_was_cut_is_dropped_unless_told_otherwise():
    """Half a sentence is no answer to learn from; random models never stop, so a switch lets it pass."""
    text = "The cat sits on the"
    assert check_answer(text, GuardsConfig(), cut=True) == "cut"
    assert check_answer(text, GuardsConfig(), cut=False) is None
    assert check_answer(text, GuardsConfig(drop_cut=False), cut=True) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("一个红球从左向右移动。", 10),
        ("赤いボールが左から右へ動く", 11),  # katakana is one word
        ("ลูกบอลสีแดง", 9),  # marks stand on their letters
        ("빨간 공이 움직인다", 3),
        ("गेंद दाईं ओर जाती है", 5),
        ("Its number is 3, it isn’t a well-known one", 10),
        ("球A moves", 3),
    ],
)
def test_words_are_counted_where_no_spaces_are_written(text: str, number: int):
    """By letters there, by words elsewhere, with the marks that belong to them."""
    assert len(words(text)) == number


def test_length_guards_hold_without_spaces():
    """As many letters are let through, twice as many are not; one answer within the other is seen."""
    short, other = "红球从左边向右移动", "蓝色方块一直停着不"
    assert check_pair(short, other, GUARDS) is None
    assert check_pair(short, other * 2, GUARDS) == "length_ratio"
    assert check_pair(short, f"是{short}了", GUARDS) == "containment"
