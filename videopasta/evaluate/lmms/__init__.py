"""lmms-eval: the public benchmarks, and our questions as one of its tasks. It runs in an environment of its own.

profiles.py says how it is told to run, runner.py runs it, task.py and model.py are what it imports from here.
"""
