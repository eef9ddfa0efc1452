"""Decides how many requests may be in flight, when the next may start, and what is tried again.

Nothing here waits, reads a clock or does I/O: every method gets the time as an argument, in seconds of one monotonic
clock.

| module | contents |
|---|---|
| `permit_source` | where permits come from: the interface of `endpoint` and `endpoint_group` |
| `endpoint` | the state of one endpoint; combines all parts below |
| `endpoint_group`, `member` | several endpoints: which one gets an attempt |
| `aside` | when an endpoint of several is put aside, and when it is probed |
| `permit` | the permission to make one attempt, and its result |
| `adaptive` | adapts permits and pace to the samples |
| `samples` | what counts as accepted or refused, in the order of sending |
| `aimd` | the number of permits (additive increase, multiplicative decrease) |
| `levels`, `in_flight_limit` | finds a limit on the attempts in flight, and follows it |
| `pacer`, `pacing/` | when the next attempt may start |
| `rate_limits`, `limit_headers` | limits per minute that are configured or that responses show |
| `availability` | outages |
| `retry` | whether, and when, a failed attempt is made again |
| `run_end` | when a run ends early because every other row would fail too |
| `decisions` | the log of decisions |

Words: an *attempt* is one request for one row. An *answer* is a response with a result. A *refusal* is a response that
says that the endpoint is busy or that a limit is reached (`RequestError.is_overload`). A *rejection* is a failure that
is not retried. A *fault* is any other failure. *Noise* is the share of attempts that the endpoint refuses at any rate.

How the controller reacts:

| signal | meaning | reaction: permits (`aimd`), pace (`pacer`), retries (`retry`) |
|---|---|---|
| only accepted attempts | there is room | WARMUP adds permits in each window; OPEN: any rate |
| timeouts while others are in flight | too much at once | BACKOFF cuts permits, RECOVERY adds some; spends a retry |
| a few refusals among many attempts | chance | none; no retry is spent |
| many refusals, more than the noise | load or noise | WARMUP waits; TRIAL at or below the accepted rate |
| nearly all attempts in a row are refused | a flood | the same reaction, without waiting for more evidence |
| fewer refusals in a TRIAL | a limit on the rate | CRUISE at that rate; it grows while few are refused |
| as many refusals at a clearly lower rate | noise, or a bad backend | OPEN; this share is expected from now on |
| refusals only with `n` or more in flight | a limit on attempts in flight | `n` permits, sometimes one more; OPEN |
| every attempt is refused | the limit of a minute is used up | CLOSED: single attempts, with pauses up to 15 s |
| an accepted attempt in CLOSED | the next minute has begun | CRUISE at the average rate of the cycle |
| `Retry-After` within `max_wait` | all rows must wait | nothing starts before its end; with noise, only its row waits |
| such waits at any rate, even a low one | noise | OPEN; this share is expected from now on |
| a longer `Retry-After`, or a quota | a quota is used up | the third in a row ends the run (`run_end`) |
| limit headers | a bucket of known size | waits until it has refilled; they expire (`rate_limits`) |
| status 500 etc., while others are answered | a fault of this attempt | spends a retry, unless chance explains it |
| several rows fail, without an answer in between | an outage | single attempts (`availability`); no retry is spent |
| no answer for `max_outage` seconds | the endpoint is gone | ends the run, which can be resumed |
| status 400 etc. | a fault of the row or the account | fails the row; may end the run (`run_end`) |

A refusal spends one of the row's retries only if the endpoint has answered nothing for two minutes. A fault with a
status counts as an accepted attempt, because the endpoint took the request.
"""
