"""The parts of the pacer (`asyncinfer.control.pacer`): its modes, and what is known of the endpoint.

| module | contents |
|---|---|
| `evidence` | statistics of refusals, and how much evidence each conclusion takes |
| `noise` | distinguishes noise from load |
| `flow` | the history of attempts |
| `capacity` | the rate that the endpoint accepts, how many attempts it accepts in a burst, the noise |
| `cycles` | the average rate over the periods between two stops |
| `open`, `test`, `cruise`, `closed` | the modes: each turns samples into transitions |
| `transitions` | what a mode asks the pacer to do |

Words: *noise* is refused at any rate, *load* only at too high a rate. An *alarm* says that refusals have become clearly
more frequent. A *flood* is an alarm for several refusals in a row. A TEST uses a lower rate to see whether
refusals become rare. A *probe* uses a higher rate, within CRUISE, to see whether they become more frequent.
"""
