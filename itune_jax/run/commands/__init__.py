"""One module a command, its flags beside it."""
