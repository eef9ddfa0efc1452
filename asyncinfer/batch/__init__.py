"""Batch jobs of a provider: an executor that sends the rows of a run as jobs, and the client for single operations.

| module | contents |
|---|---|
| `client` | does the operations of a batch API: sends their requests, and reads results as a stream |
| `api` | the client, the encoder and the decoder of one call |
| `custom_ids` | the ids of rows in jobs |
| `job_state` | what is saved about each job, so that a killed run finds its jobs again |
| `job_writer` | writes rows into the files of jobs |
| `spill` | rows on disk while they wait for their answers |
| `open_rows` | which rows wait for which job |
| `recognition` | recognises a job by its results, if the provider can mark no jobs |
| `submission` | submits a job exactly once, whatever goes wrong |
| `polling` | the state of all jobs, with few requests |
| `results` | the results of a job, as outcomes of rows |
| `online_rows` | rows that are sent one by one |
| `executor` | the executor of a run |
"""
