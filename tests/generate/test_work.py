from hypothesis import given
from hypothesis import strategies as st

from tests.works import make_decoded, make_failed, make_finished, make_plan, make_vote
from videopasta.generate.work import Work, video_tokens


def test_work_survives_json():
    """Between actors it travels as text: plans, spans and numbers come back exactly."""
    for work in (make_finished(), make_failed(), make_decoded()[0]):
        assert Work.model_validate_json(work.model_dump_json()) == work


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_seconds_survive_json_exactly(start_s: float, end_s: float):
    """A clip's id is made of them."""
    work = make_finished().having(start_s=start_s, end_s=end_s)
    carried = Work.model_validate_json(work.model_dump_json())
    assert (carried.start_s, carried.end_s) == (start_s, end_s)


def test_having_leaves_the_original():
    """Works are values."""
    work = make_finished()
    assert work.having(description="x").description == "x"
    assert work.description is None


def test_vote_accepts_only_with_four_yeses():
    """One no is a no."""
    assert make_vote().accepts
    for question in ("genuine", "targeted", "distinct", "preferred_ok"):
        assert not make_vote(**{question: False}).accepts


def test_video_tokens_are_one_per_28x28_of_two_frames():
    """32 frames of 56x84 are 16 x 2 x 3."""
    assert video_tokens(make_plan(num_frames=32)) == 16 * 2 * 3
