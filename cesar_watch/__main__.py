"""Let `python -m cesar_watch` do what the command `cesar-watch` does."""

from cesar_watch.cli.main import main

if __name__ == "__main__":
    main()
