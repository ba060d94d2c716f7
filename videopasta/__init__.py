"""From a folder of videos to a measurably better Video-LLM.

The road of the data, in the order of the folders: ``config`` → ``video`` → ``prompts`` → ``engine`` →
``generate`` → ``pairs``. Each is usable alone; ``videopasta.cli`` and ``ray_jobs/`` only put them together.
"""

__version__ = "0.1.0"
