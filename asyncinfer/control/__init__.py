"""How hard to push. Pure decisions: no I/O, no clock of their own; `now` is an argument, in seconds."""
