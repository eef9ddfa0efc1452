"""Async tools that do not depend on engines.

| module | contents |
|---|---|
| `background_iterator` | an async iterator whose items come from a background task |
| `clock` | the time as a run sees it; tests replace it |
| `descriptors` | whether file descriptors are scarce |
| `event_loop` | the event loop of a call, or an error that says what to do without asyncio |
| `files` | aiofiles on the worker threads of this package |
| `gc_tuning` | fewer runs of the garbage collector while many rows are handled |
| `iterate` | async iteration over any iterable |
| `limiters` | worker threads for blocking calls, with a limit for each kind of work |
| `portal` | blocking calls of async methods |
| `tasks` | task groups, cleanups, and calls of code that is not part of this package |
"""
