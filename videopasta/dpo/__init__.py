"""Training on the pairs."""
