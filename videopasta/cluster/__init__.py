"""Around a run on a cluster: what it will take, what it uses, and what shows it."""
