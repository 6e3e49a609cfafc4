"""`python -m evolvent`: the command where its script is not on the path."""

from evolvent.cli.main import main

main()
