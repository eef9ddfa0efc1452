"""A retry of the failed rows of an earlier run, whose answers are merged into the output of that run.

| module | contents |
|---|---|
| `retry` | one retry: its lock, its saved rows, and its steps |
| `files` | the files of a retry, which replace those of the run together |
| `failed_row_index` | where the answer to each failed row belongs |
| `failed_input_rows` | the columns of failed rows, from the input of the run |
| `outcomes` | which rows are answered now, and which have failed again |
| `merge` | puts the answers into the output, and keeps the rows that have failed again |
| `output_merge` | what each kind of output must do |
| `conversations_merge`, `json_rows_merge`, `table_merge` | the kinds of output |
| `output_lines` | the lines of an output in JSONL |
| `saved_rows` | the answers in the scratch file of the run |
| `spent_usage` | the usage of failed attempts, in the scratch file of the run |

Words: a *line* is the index of a line of the file of failed rows, without blank lines. A *row* is the index of a row of
the input of the run.
"""
