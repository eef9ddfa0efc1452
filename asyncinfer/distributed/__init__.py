"""Replicas of an engine in other processes. Ray starts, places and restarts them.

A replica holds one engine, and makes single attempts with it. Permits, pace, limits and retries stay with the engine
object of the caller, so all replicas together keep the limits of one endpoint. This layer comes before the engines: it
knows an engine only as something that builds, binds settings and closes (`ReplicaEngine`).

- `routing` decides which replica gets a row. It is pure.
- `pool` holds the rows of one event loop until a replica answers them.
- `client` exchanges rows and results with one replica, and gives its rows back if it dies. `handle` is how it reaches
  the replica.
- `replica` is what runs in the other process, and `session` answers the rows of one client there.
- `placement` knows whether there is room for replicas.
- `ray_replicas` and `compat` are the only modules that import Ray.
"""
