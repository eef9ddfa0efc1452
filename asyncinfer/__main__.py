"""`python -m asyncinfer` is the command line."""

from asyncinfer.cli.main import main

if __name__ == "__main__":
    main()
