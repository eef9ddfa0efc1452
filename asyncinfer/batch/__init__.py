"""Batch jobs of a provider: an executor that sends the rows of a run as jobs, and the client for single operations.

The API of one call, and jobs of a list of conversations:

| module | contents |
|---|---|
| `client` | runs the operations of a batch API: sends their requests, and reads results as a stream |
| `api` | the client, the encoder and the decoder of one call |
| `custom_ids` | the ids of rows in jobs |
| `single_job`, `single_results` | one job of a list of conversations: submit it, and read its results |

A run:

| module | contents |
|---|---|
| `executor` | the executor: reads the input, polls, and handles jobs that have ended |
| `job_state` | what is saved about each job, so that a killed run finds its jobs again |
| `job_maker`, `job_writer` | collect rows into jobs, and write the files of jobs |
| `submission` | submits a job exactly once, whatever goes wrong |
| `recognition` | recognises a job by its results, if the provider cannot tag jobs |
| `jobs` | the open jobs, and the parts of the run that the other modules share |
| `polling` | requests the state of all jobs, with few requests |
| `results`, `line_counts` | read the results of a job as outcomes of rows, and check that they are complete |
| `ended_jobs` | reports the results of a job that has ended, and sends rows without an answer again |
| `clean_up` | cancels jobs, and deletes the files of requests at the provider |
| `online_rows` | the rows that are sent as single requests |
| `open_rows`, `spill` | which rows wait for which job, and those rows on disk |
| `outcomes` | reports the outcomes of rows, and knows which answers are durable |
"""
