#!/usr/bin/env python3
"""source_hashes.py SEED FILE...: a line "HASH FILE" for each, of its text and of every header of the project that it
includes, directly or through others, and of SEED."""

import hashlib
import re
import sys
from functools import lru_cache
from pathlib import Path

INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


@lru_cache(maxsize=None)
def included(path):
    folder = path.parent
    names = [name.decode() for name in INCLUDE.findall(path.read_bytes())]
    return [found for name in names for found in (Path(name), folder / name) if found.is_file()]


def closure(path):
    seen, left = set(), [path]
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left += included(one)
    return sorted(seen)


@lru_cache(maxsize=None)
def digest(path):
    return hashlib.sha256(path.read_bytes()).digest()


for name in sys.argv[2:]:
    whole = hashlib.sha256(sys.argv[1].encode())
    for part in closure(Path(name)):
        whole.update(str(part).encode() + b"\0" + digest(part))
    print(whole.hexdigest()[:32], name)
