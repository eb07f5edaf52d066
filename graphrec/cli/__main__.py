"""``python -m graphrec.cli``."""

from graphrec.cli import main

main()
