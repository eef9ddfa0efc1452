"""What is never lost: row identities, the file that finished rows are saved to, and its recovery."""
