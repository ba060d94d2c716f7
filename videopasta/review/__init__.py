"""People look at pairs and decide: a page on this machine, over an output folder.

`queue.py`, `agreement.py` and `differences.py` are pure; `decisions.py` is the file that keeps what was decided;
`catalogue.py` reads the folder; `app.py` makes pages of them, `server.py` serves them.
"""
