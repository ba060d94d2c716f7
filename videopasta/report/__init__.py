"""A set of pairs, told: a page for people, a card for who downloads it, and its way to the hub.

`facts.py` (pure) counts; `page.py` makes report.html and report.json, `card.py` the dataset card, `publish.py` uploads.
"""
