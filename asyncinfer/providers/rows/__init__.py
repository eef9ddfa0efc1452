"""The rows of the catalog, by the kind of provider. `catalog.py` has the rule."""
