#!/usr/bin/env python3
"""tidy_units.py COMPILE_COMMANDS STAMPS: what to check, a line each, of lines "HASH FILE" on standard input, without those
whose stamp lies in STAMPS: "FILE <tab> HASH FILE" for one alone, "UNITY FILE <tab> HASH FILE <tab> HASH FILE..." for those
that a unity build compiles together, whose headers are then parsed once."""

import json
import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)

pending = {}
for line in sys.stdin:
    digest, source = line.split(maxsplit=1)
    source = source.rstrip("\n")
    if not (Path(sys.argv[2]) / digest).exists():
        pending[source] = f"{digest} {source}"

for entry in json.loads(Path(sys.argv[1]).read_text()):
    unity = entry["file"]
    if "/Unity/unity_" not in unity:
        continue
    members = [str(Path(name).relative_to(Path.cwd())) for name in INCLUDE.findall(Path(unity).read_text())]
    members = [name for name in members if name in pending]
    if len(members) > 1:
        print("\t".join([unity, *(pending.pop(name) for name in members)]))
for source, line in pending.items():
    print(f"{source}\t{line}")
