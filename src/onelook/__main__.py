"""`python -m onelook` is the command `onelook`."""

from onelook.cli import main

main()
