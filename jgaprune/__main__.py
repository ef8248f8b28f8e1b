"""`python -m jgaprune`: the command line."""

from jgaprune.cli import main

if __name__ == "__main__":
    main(prog_name="jgaprune")
