"""Shows the progress of runs on a terminal and in a notebook, with rich.

`run` knows nothing of this package: it reports to a callback. Importing rich takes a tenth of a second, so only code
that shows something imports `progress_bar`.
"""
