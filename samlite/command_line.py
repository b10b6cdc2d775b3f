"""``python -m samlite COMMAND``: one table of commands, and the way from a command to the code that carries it out."""
