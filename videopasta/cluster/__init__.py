"""Around a run on a cluster: what it will take, how it gets there, what it uses, and what shows it."""
