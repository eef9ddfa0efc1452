"""The commands: their options, and nothing that is slow to import. Each file is one command."""
