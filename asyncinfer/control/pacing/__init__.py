"""The parts of the pacer (`asyncinfer.control.pacer`): one module for each mode, and what is known of the endpoint.

| module | contents |
|---|---|
| `evidence` | statistics of refusals |
| `noise` | what tells noise from load |
| `flow` | the history of attempts |
| `capacity` | the rate that the endpoint accepts, how many attempts it takes in a burst, the share of noise |
| `cycles` | the average rate over the periods between two stops |
| `open`, `test`, `cruise`, `closed` | the modes: each turns samples into transitions |
| `transitions` | what a mode asks the pacer to do |
"""
