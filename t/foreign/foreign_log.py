#!/usr/bin/python3
"""A .log file by an implementation that is not ours: Debian's python3-kafka.

    foreign_log.py read OFFSET FILE.log ...
        one JSON object for each batch from this base offset on; its records
        as [offset, ms, key, value, headers] with bytes in hexadecimal; fails
        on whatever a client refuses
    foreign_log.py segment DIR UUID PARTITION BASE FILE.batch ...
        makes DIR/BASE.log of whole batches with base offset 0, and the
        descriptors for it, as storage/README.md draws them
"""
import json
import os
import struct
import sys
import uuid

from kafka.record import MemoryRecords
from kafka.record.util import calc_crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
DESCRIPTOR = struct.Struct("<IIIIQQqBBBBI")
COMMITTED_SETTLED = 0x81
FIRST_LSN = 0x1000000       # below any redo pointer of a cluster


def hexed(data):
    return None if data is None else data.hex()


def read_file(path, start):
    with open(path, "rb") as f:
        data = f.read()
    records = MemoryRecords(data)
    assert records.valid_bytes() == len(data), "%s: %d bytes behind the last batch" % (
        path, len(data) - records.valid_bytes())
    position = 0
    first = True
    while records.has_next():
        header = HEADER.unpack_from(data, position)
        batch = records.next_batch()
        assert not first or batch.base_offset == int(os.path.basename(path)[:20]), path
        assert batch.magic == 2 and batch.validate_crc(), "%s at %d" % (path, position)
        position += 12 + header[1]
        first = False
        if batch.base_offset < start:
            continue
        rows = [[r.offset, r.timestamp, hexed(r.key), hexed(r.value),
                 [[k.encode().hex(), hexed(v)] for k, v in r.headers]] for r in batch]
        assert len(rows) == batch.last_offset_delta + 1
        assert max(r[1] for r in rows) == batch.max_timestamp
        print(json.dumps({
            "file": os.path.basename(path), "base": batch.base_offset, "epoch": header[2],
            "codec": batch.compression_type, "append_time": batch.timestamp_type,
            "transactional": batch.is_transactional, "control": batch.is_control_batch,
            "producer": list(header[9:12]), "records": rows}))


def write_segment(directory, topic, partition, base, files):
    log = bytearray()
    batches = bytearray()
    offset, newest = base, -1
    seed = uuid.UUID(topic).bytes + struct.pack("<iq", partition, base)
    for number, path in enumerate(files):
        with open(path, "rb") as f:
            batch = bytearray(f.read())
        fields = HEADER.unpack_from(batch)
        struct.pack_into(">q", batch, 0, offset)
        newest = max(newest, fields[8])
        entry = bytearray(DESCRIPTOR.pack(
            offset - base, fields[6] + 1, len(log), len(batch), FIRST_LSN + offset,
            0, newest, 1, batch[19], batch[20], COMMITTED_SETTLED, 0))
        crc = calc_crc32c(seed + struct.pack("<I", number) + bytes(entry[:43]))
        struct.pack_into("<I", entry, 44, crc)
        batches += entry
        log += batch
        offset += fields[6] + 1
    for suffix, data in (("log", log), ("batches", batches)):
        with open("%s/%020d.%s" % (directory, base, suffix), "wb") as f:
            f.write(data)
    print(offset)


if __name__ == "__main__":
    if sys.argv[1] == "read":
        for name in sys.argv[3:]:
            read_file(name, int(sys.argv[2]))
    else:
        write_segment(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6:])
