from videopasta.serve.limits import Rate, Room


def test_rate_gives_a_minutes_worth_at_once_and_then_its_pace():
    """120 a minute: 120 at the start, then one each half second."""
    rate = Rate(120, now=0.0)
    assert [rate.wait_s(0.0) for _ in range(120)] == [0.0] * 120
    assert rate.wait_s(0.0) == 0.5
    assert rate.wait_s(0.5) == 0.0
    assert rate.wait_s(0.5) == 0.5


def test_quiet_hours_save_no_more_than_a_minute():
    """Else a night would be a burst."""
    rate = Rate(2, now=0.0)
    assert [rate.wait_s(3600.0) for _ in range(3)] == [0.0, 0.0, 30.0]


def test_a_rate_below_one_a_minute_lets_one_through():
    """The first, and then one in two minutes."""
    rate = Rate(0.5, now=0.0)
    assert [rate.wait_s(now) for now in (0.0, 60.0, 120.0)] == [0.0, 60.0, 0.0]


def test_room_is_given_back():
    """As many as there are, again."""
    room = Room(1)
    assert room.enter()
    assert not room.enter()
    room.leave()
    assert room.enter()
