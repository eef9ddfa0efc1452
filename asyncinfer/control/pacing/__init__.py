"""The parts of the pacer (`asyncinfer.control.pacer`): its modes, and what is known of the endpoint.

| module | contents |
|---|---|
| `evidence` | statistics of refusals, and how much evidence each conclusion takes |
| `noise` | distinguishes noise from load |
| `history` | the history of attempts |
| `capacity` | the rate that the endpoint accepts, how many attempts it accepts in a burst, the noise |
| `cycles` | the average rate over a cycle, which ends with a stop |
| `open`, `trial`, `cruise`, `closed` | the modes: each turns samples into transitions |
| `transitions` | what a mode asks the pacer to do |

Words: *noise* is refused at any rate, *load* only at too high a rate. An *alarm* says that refusals have become clearly
more frequent. A *flood* is an alarm for several refusals in a row. A TRIAL uses a lower rate to see whether refusals
become rare. A *rate probe* uses a higher rate, within CRUISE, to see whether refusals become more frequent. (The *limit
probe* of `asyncinfer.control.in_flight_limit` adds permits.)
"""
