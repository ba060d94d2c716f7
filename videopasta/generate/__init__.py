"""From clips to candidates with verdicts: stages as plain functions (`queries`, `responses`, `guards`, `judging`),
the Ray Data graph that runs them (`pipeline`), and one run of it (`run`)."""
