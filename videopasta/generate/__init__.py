"""From clips to candidates with verdicts: stages as plain functions, and the graph that runs them.

`queries`, `responses`, `guards` and `judging` are the stages, `pipeline` the Ray Data graph, `run` the shell.
"""
