"""`python -m emoscope`: the command line."""

from emoscope.apps.cli import main

if __name__ == "__main__":
    main()
