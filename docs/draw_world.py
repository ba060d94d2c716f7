"""Draws docs/images/world.png: three test clips of the embedded world, eight moments of each.

python docs/draw_world.py
"""

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from videopasta.tiny.render import frames
from videopasta.tiny.world import NUM_TICKS, scenes

SIDE, GAP, MOMENTS = 96, 6, 8

rows = []
for scene in islice(scenes("test", seed=0), 3):
    ticks = [round(i * (NUM_TICKS - 1) / (MOMENTS - 1)) for i in range(MOMENTS)]
    row = np.full((SIDE, MOMENTS * (SIDE + GAP) - GAP, 3), 128, np.uint8)
    for i, frame in enumerate(frames(scene, ticks, SIDE)):
        row[:, i * (SIDE + GAP) : i * (SIDE + GAP) + SIDE] = frame
    rows += [row, np.full((2 * GAP, row.shape[1], 3), 128, np.uint8)]
file = Path(__file__).parent / "images/world.png"
file.parent.mkdir(exist_ok=True)
Image.fromarray(np.concatenate(rows[:-1])).save(file, optimize=True)
