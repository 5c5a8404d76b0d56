"""Evaluates a run: statistics, the paired comparison, fidelity, parity, figures, and the report.

The package reads the database and the storage only. It may import `offload` and `middleware`, and does not use torch.

* `measurements` reads the records
* `statistics`, `comparison`, `learning`, `fidelity`, `parity` compute
* `results` combines the results into `results.json`
* `figures`, `style`, `rendering` draw the figures
* `report` writes the page, `tables` the table for the terminal, `wording` the sentences of both
"""
