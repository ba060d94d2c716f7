"""Pairs as the files of other trainers, and back.

    pairs/ ─► check ─► media ─► formats ─► train, validation      FILE ─► files ─► parse ─► look ─► candidates/ pairs/
                │      link, copy,                                          │        │       at videos
                ▼      embed, frames                                        └────────┴────────┴─► rejects.jsonl
             rejects.jsonl

Pure: `formats.py` (what each file looks like), `parse.py` (what stands in one, whatever its names). Around them
`exporting.py` and `importing.py`. No row is left out in silence: each is written, or stands in `rejects.jsonl` with
its place, its reason and the fix.
"""
