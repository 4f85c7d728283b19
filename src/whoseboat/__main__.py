"""`python -m whoseboat` is the command `whoseboat`."""

from whoseboat.cli import main

main()
