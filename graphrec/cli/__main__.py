"""``python -m graphrec.cli``."""

from graphrec.cli import main

if __name__ == "__main__":
    main()
