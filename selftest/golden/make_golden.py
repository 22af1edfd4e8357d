#!/usr/bin/python3
"""Writes the golden record batches with kafka-python's encoder.

    make_golden.py [directory]          writes the files
    make_golden.py --check [directory]  compares them with those that are there

Needs Debian's python3-kafka, python3-lz4, python3-snappy, python3-zstandard.
The same versions of the libraries give the same bytes: nothing here is random
and no clock is read.  What the records are is written down a second time, in
selftest/golden.c, and must not be derived from here.
"""
import gzip
import hashlib
import json
import os
import struct
import sys
from unittest import mock

import lz4.frame
import snappy
import zstandard
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
ATTRIBUTES = 21
BASE_TS = 1700000000000
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
LOG_APPEND_TIME = 8


def small():
    """Every shape of a record."""
    t = BASE_TS
    return [
        (t, b"k0", b"v0", []),
        (t + 1, None, b"no key", []),
        (t + 2, b"tomb", None, []),
        (t + 3, b"", b"", []),
        (t + 4, None, None, []),
        (t + 5, b"h", b"with headers", [("a", b"1"), ("null", None), ("empty", b""),
                                        ("\u043a\u043b\u044e\u0447", b"\x00\xff\x80"), ("a", b"2")]),
        (t - 1000, b"late", b"older than the first", []),
        (t + 70, b"63", b"x" * 63, []),
        (t + 8200, b"64", b"y" * 64, []),
        (t + 86400000, b"200", b"z" * 200, []),
        (t + 10, b"last", b"end", [("", b"v")]),
    ]


def many():
    """Offset deltas and lengths of one and two bytes."""
    return [(BASE_TS + 10 * i, b"key-%d" % (i % 7), b"value-%d" % i, []) for i in range(300)]


def large():
    """Values over the block sizes of snappy and LZ4."""
    records = []
    for r in range(2):
        state, value = r + 1, bytearray()
        for _ in range(40000):
            state = (state * 1103515245 + 12345) & 0xFFFFFFFF
            value.append(b"ab"[(state >> 16) & 1])
        records.append((BASE_TS + r, b"large-%d" % r, bytes(value), []))
    return records


def txn():
    return [(BASE_TS, b"order-1", b"created", []), (BASE_TS + 1, b"order-1", b"paid", [])]


SETS = {"small": small, "many": many, "large": large, "txn": txn}


def build(records, codec, transactional=False, producer=(-1, -1, -1)):
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=transactional,
        producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2],
        batch_size=1 << 24)
    for offset, (ts, key, value, headers) in enumerate(records):
        assert builder.append(offset, ts, key, value, headers) is not None
    with mock.patch("time.time", return_value=0):   # gzip stamps its header
        batch = bytes(builder.build())
    assert HEADER.unpack_from(batch)[5] & 7 == codec, "did not shrink"
    return batch


def rewrite(batch, payload=None, attributes=0):
    """Puts another payload or other attributes into an uncompressed batch."""
    fields = list(HEADER.unpack_from(batch))
    payload = batch[HEADER.size:] if payload is None else payload
    fields[1] = HEADER.size - 12 + len(payload)
    fields[5] |= attributes
    out = bytearray(HEADER.pack(*fields) + payload)
    struct.pack_into(">I", out, 17, calc_crc32c(bytes(out[ATTRIBUTES:])))
    return bytes(out)


def zstd_stream(payload):
    """A frame without content size, as a streaming encoder writes it."""
    c = zstandard.ZstdCompressor().compressobj()
    return c.compress(payload) + c.flush()


def lz4_java(payload):
    return lz4.frame.compress(payload, block_size=lz4.frame.BLOCKSIZE_MAX64KB,
                              block_linked=False, store_size=False)


def lz4_linked(payload):
    return lz4.frame.compress(payload, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=True,
                              content_checksum=True, block_checksum=True)


def zstd_frames(payload):
    """A frame, a skippable frame, a frame."""
    c = zstandard.ZstdCompressor()
    half = len(payload) // 2
    return c.compress(payload[:half]) + struct.pack("<II", 0x184D2A50, 3) + b"any" + c.compress(payload[half:])


def gzip_members(payload):
    half = len(payload) // 2
    return gzip.compress(payload[:half], mtime=0) + gzip.compress(payload[half:], mtime=0)


def golden():
    files = {}
    for name in ("small", "large"):
        records = SETS[name]()
        none = build(records, NONE)
        payload = none[HEADER.size:]
        files[name + "-none"] = none
        for codec, label in ((GZIP, "gzip"), (SNAPPY, "snappy"), (LZ4, "lz4"), (ZSTD, "zstd")):
            files["%s-%s" % (name, label)] = build(records, codec)
        files[name + "-gzip-members"] = rewrite(none, gzip_members(payload), GZIP)
        files[name + "-snappy-raw"] = rewrite(none, snappy.compress(payload), SNAPPY)
        files[name + "-lz4-java"] = rewrite(none, lz4_java(payload), LZ4)
        files[name + "-lz4-linked"] = rewrite(none, lz4_linked(payload), LZ4)
        files[name + "-zstd-stream"] = rewrite(none, zstd_stream(payload), ZSTD)
        files[name + "-zstd-frames"] = rewrite(none, zstd_frames(payload), ZSTD)
    files["small-append-time"] = rewrite(files["small-none"], attributes=LOG_APPEND_TIME)
    files["many-none"] = build(many(), NONE)
    files["many-lz4"] = build(many(), LZ4)
    files["txn-none"] = build(txn(), NONE, True, (4242, 3, 100))
    out = {name + ".batch": data for name, data in files.items()}
    out["manifest.tsv"] = manifest(files)
    out["records.tsv"] = records_table()
    return out


def manifest(files):
    lines = ["file\tset\tbytes\tattributes\trecords"]
    for name in sorted(files):
        fields = HEADER.unpack_from(files[name])
        lines.append("%s.batch\t%s\t%d\t%d\t%d" % (
            name, name.split("-")[0], len(files[name]), fields[5], fields[12]))
    return ("\n".join(lines) + "\n").encode()


def records_table():
    """What a reader must show; the value by its MD5, for some are long."""
    lines = ["set\toffset\ttimestamp\tkey_hex\tvalue_length\tvalue_md5\theaders_hex"]
    for name in sorted(SETS):
        for offset, (ts, key, value, headers) in enumerate(SETS[name]()):
            pairs = [[k.encode().hex(), None if v is None else v.hex()] for k, v in headers]
            lines.append("\t".join([
                name, str(offset), str(ts),
                "\\N" if key is None else key.hex(),
                "\\N" if value is None else str(len(value)),
                "\\N" if value is None else hashlib.md5(value).hexdigest(),
                json.dumps(pairs, separators=(",", ":"))]))
    return ("\n".join(lines) + "\n").encode()


def main(args):
    check = args[:1] == ["--check"]
    args = args[1:] if check else args
    directory = args[0] if args else os.path.dirname(os.path.abspath(__file__))
    bad = 0
    for name, data in sorted(golden().items()):
        path = os.path.join(directory, name)
        if not check:
            with open(path, "wb") as f:
                f.write(data)
        else:
            with open(path, "rb") as f:
                if f.read() != data:
                    print("%s differs" % name, file=sys.stderr)
                    bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
