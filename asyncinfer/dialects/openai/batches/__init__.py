"""Batch jobs in OpenAI's format: a file of requests, a job, and files of results."""
