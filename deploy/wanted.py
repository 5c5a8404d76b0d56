"""Prints the requirements of the package and of the given extras, one per line.

python wanted.py node controller > wanted.txt
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
wanted, extras = list(project["dependencies"]), sys.argv[1:]
while extras:
    for line in project["optional-dependencies"][extras.pop()]:
        own = line.partition("[")
        if own[0] == project["name"]:
            extras += own[2].rstrip("]").split(",")
        else:
            wanted.append(line)
print("\n".join(wanted))
