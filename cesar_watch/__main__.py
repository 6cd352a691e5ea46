"""The command `cesar-watch`, also as `python -m cesar_watch`."""

from cesar_watch.core.held_signals import hold

hold()

from cesar_watch.cli.main import main  # noqa: E402 - the slow imports, in which signals wait

if __name__ == "__main__":
    main()
