"""What a run was worth: statistics, the paired comparison, fidelity, figures, and the report.

Everything here is made from the database and the storage alone. May import `offload` and `middleware`. No torch.

`statistics`, `comparison`, `learning`, `fidelity` compute; `results` reads the records and puts it together as
`results.json`; `style`, `figures`, `rendering` draw it; `report` writes the page, `tables` the terminal's table.
"""
