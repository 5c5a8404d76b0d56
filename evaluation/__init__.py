"""What a run was worth: statistics, the paired comparison, fidelity, figures, and the report.

Everything here is made from the database and the storage alone. May import `offload` and `middleware`. No torch.

`measurements` reads the records; `statistics`, `comparison`, `learning`, `fidelity` compute; `results` puts it together
as `results.json`; `style`, `figures`, `rendering` draw it; `report` writes the page, `tables` the terminal's table.
"""
