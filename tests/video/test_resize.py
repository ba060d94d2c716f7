import numpy as np
import pytest
from PIL import Image

from tests.clips import numbered_frame
from videopasta.video.resize import Resizer


@pytest.mark.parametrize(("height", "width"), [(112, 196), (56, 84), (280, 560)])
def test_resize_is_pillows_bicubic_but_for_sharpness(height: int, width: int):
    """Larger or smaller: what Pillow gives, to about a level of 255 on average."""
    frame = numbered_frame(5)
    ours = Resizer(height, width)(frame)
    theirs = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
    assert ours.shape == (height, width, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).mean() < 1.2


def test_shrinking_is_antialiased():
    """A fine checkerboard becomes grey, not a coarse one."""
    board = np.indices((96, 192)).sum(0) % 2 * 255
    small = Resizer(24, 48)(np.repeat(board[..., None], 3, -1).astype(np.uint8))
    assert np.abs(small.astype(int) - 127).max() <= 4


def test_colours_stay_apart():
    """No trip through YUV: a pure colour stays pure, and sharp beside another."""
    frame = np.zeros((96, 192, 3), np.uint8)
    frame[:, :96, 0] = frame[:, 96:, 2] = 255
    large = Resizer(192, 384)(frame)
    assert (large[:, :180] == (255, 0, 0)).all()
    assert (large[:, 204:] == (0, 0, 255)).all()


def test_same_size_is_left_alone():
    """Nothing to do changes nothing."""
    frame = numbered_frame(9)
    assert Resizer(96, 192)(frame) is frame
