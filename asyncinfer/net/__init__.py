"""Parts of the HTTP transport: response bodies, memory, sockets and addresses."""
