"""`python -m lds` is the `lds` command."""

from lds.cli import main

if __name__ == "__main__":
    main()
