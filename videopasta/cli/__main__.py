"""`python -m videopasta.cli`."""

from videopasta.cli import main

main()
