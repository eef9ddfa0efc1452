"""Adapters: the engines of this package as models of other frameworks."""
