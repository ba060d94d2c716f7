"""Small models of the real architectures: what runs without any download."""
