"""Parts of the HTTP transport: bodies, memory, sockets and addresses."""
