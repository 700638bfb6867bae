"""The mini-batches of a preparation, read by NumPy from its samples.zst: what another system is given to train on.

Source: storage/FORMAT.md, "Section table", "Sample pool", "Frame of a mini-batch".
Needs:  NumPy, and libzstd, which gneiss itself needs.
"""

import ctypes
import ctypes.util
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy

DTYPES = {1: "u1", 2: "<u2", 3: "<u4", 4: "<u8", 5: "<i4", 6: "<i8", 7: "<f2", 9: "<f4", 10: "<f8"}
SPLITS = {"train": 0, "valid": 1, "test": 2}
BATCH_INDEX = 30
SEEDS, TARGETS, INPUT_NODES, BLOCK_SHAPES = 50, 51, 54, 62
BLOCK_INDPTR, BLOCK_INDICES, DST_IN_SRC = 1024, 1025, 1026

ENTRY = numpy.dtype([("split", "<u4"), ("epoch", "<u4"), ("worker", "<u4"), ("batch", "<u4"), ("frame_offset", "<u8"),
                     ("inputs_offset", "<u8"), ("frame_xxh3", "<u8"), ("inputs_xxh3", "<u8"), ("frame_bytes", "<u4"),
                     ("frame_raw_bytes", "<u4"), ("inputs_bytes", "<u4"), ("inputs_raw_bytes", "<u4"),
                     ("counts", "<u4", (8,))])
assert ENTRY.itemsize == 96

zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


def decompress(data, raw_bytes):
    raw = ctypes.create_string_buffer(raw_bytes)
    done = zstd.ZSTD_decompress(raw, raw_bytes, data, len(data))
    if done != raw_bytes:
        raise SystemExit(f"a Zstandard frame of {len(data)} bytes does not give {raw_bytes}; is the pool damaged?")
    return raw.raw


def sections(data):
    """The arrays of a file or frame, by kind."""
    section_count, = struct.unpack_from("<I", data, 16)
    arrays = {}
    for at in range(64, 64 + 64 * section_count, 64):
        kind, dtype = struct.unpack_from("<IH", data, at)
        rows, columns, offset = struct.unpack_from("<QQQ", data, at + 16)
        arrays[kind] = numpy.frombuffer(data, DTYPES[dtype], rows * columns, offset).reshape(rows, columns)
    return arrays


@dataclass
class Batch:
    seeds: numpy.ndarray  # node ids
    targets: numpy.ndarray  # classes; -1: none
    input_nodes: numpy.ndarray  # the node of each source of block 0
    blocks: list  # from the input: (indptr, indices, row of each destination among the sources, number of sources)


class SamplePool:
    def __init__(self, preparation):
        self.data = numpy.memmap(Path(preparation) / "samples.zst", "u1", "r")
        found = sections(self.data)
        self.index = found[BATCH_INDEX].reshape(-1).view(ENTRY)

    def batches(self, split, epoch=0):
        of_split = (self.index["split"] == SPLITS[split]) & (self.index["epoch"] == epoch)
        return [self.read(entry) for entry in self.index[of_split]]

    def epochs(self):
        return 1 + int(self.index["epoch"].max())

    def read(self, entry):
        def frame(name):
            begin, size = int(entry[f"{name}_offset"]), int(entry[f"{name}_bytes"])
            return sections(decompress(self.data[begin:begin + size].tobytes(), int(entry[f"{name}_raw_bytes"])))

        arrays = frame("frame")
        blocks = []
        for hop, (destinations, sources) in enumerate(arrays[BLOCK_SHAPES]):
            own = arrays[DST_IN_SRC].ravel() if hop == 0 else numpy.arange(destinations)
            blocks.append((arrays[BLOCK_INDPTR + 8 * hop].ravel(), arrays[BLOCK_INDICES + 8 * hop].ravel(), own,
                           int(sources)))
        return Batch(arrays[SEEDS].ravel(), arrays[TARGETS].ravel(), frame("inputs")[INPUT_NODES].ravel(), blocks)
