"""The command line, `tocsin`: a module a command, imported when the command is called."""
