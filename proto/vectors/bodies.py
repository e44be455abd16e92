"""Bodies: every line of BODY.md's table and every rule, as bytes and as tagged JSON."""

# ruff: noqa: E501  (tables: a case is a line)

from __future__ import annotations

import struct
from typing import Any

from wire import pack


def i(n: int) -> dict[str, str]:
    return {"int": str(n)}


def f(x: str) -> dict[str, str]:
    return {"float": x}


def t(s: str) -> dict[str, str]:
    return {"text": s}


def b(hexed: str) -> dict[str, str]:
    return {"bytes": hexed}


def ls(*items: Any) -> dict[str, Any]:
    return {"list": list(items)}


def mp(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"map": [list(p) for p in pairs]}


def ts(seconds: int, nanoseconds: int = 0) -> dict[str, Any]:
    return {"timestamp": [str(seconds), nanoseconds]}


def f64(hexed: str) -> str:
    return "cb" + hexed


def f32(x: float) -> str:
    return "ca" + struct.pack(">f", x).hex()


def text_hex(s: str) -> str:
    return pack(s).hex()


def nested_list(depth: int) -> Any:
    value: Any = i(1)
    for _ in range(depth):
        value = ls(value)
    return value


def nested_map(depth: int) -> Any:
    value: Any = i(1)
    for _ in range(depth):
        value = mp(("k", value))
    return value


INTS = [
    (0, "00"), (1, "01"), (127, "7f"), (128, "cc80"), (255, "ccff"), (256, "cd0100"),
    (65535, "cdffff"), (65536, "ce00010000"), (2**32 - 1, "ceffffffff"), (2**32, "cf0000000100000000"),
    (2**53 - 1, "cf001fffffffffffff"), (2**53, "cf0020000000000000"), (2**53 + 1, "cf0020000000000001"),
    (2**63 - 1, "cf7fffffffffffffff"), (2**63, "cf8000000000000000"), (2**64 - 1, "cfffffffffffffffff"),
    (-1, "ff"), (-32, "e0"), (-33, "d0df"), (-128, "d080"), (-129, "d1ff7f"), (-32768, "d18000"),
    (-32769, "d2ffff7fff"), (-(2**31), "d280000000"), (-(2**31) - 1, "d3ffffffff7fffffff"),
    (-(2**53) + 1, "d3ffe0000000000001"), (-(2**53), "d3ffe0000000000000"),
    (-(2**53) - 1, "d3ffdfffffffffffff"), (-(2**63), "d38000000000000000"),
]  # fmt: skip

CASES: list[tuple[str, str, Any]] = [
    ("null", "c0", None),
    ("true", "c3", True),
    ("false", "c2", False),
    *[(f"integer {n}", hexed, i(n)) for n, hexed in INTS],
    ("float 0.0", f64("0000000000000000"), f("0.0")),
    ("float -0.0", f64("8000000000000000"), f("-0.0")),
    ("float 1.0, whole", f64("3ff0000000000000"), f("1.0")),
    ("float 1.5", f64("3ff8000000000000"), f("1.5")),
    ("float 0.1", f64("3fb999999999999a"), f("0.1")),
    ("float -2.5", f64("c004000000000000"), f("-2.5")),
    ("float 1e300", f64("7e37e43c8800759c"), f("1e300")),
    ("float the largest", f64("7fefffffffffffff"), f("1.7976931348623157e308")),
    ("float the smallest", f64("0000000000000001"), f("5e-324")),
    ("float 2^53, whole", f64("4340000000000000"), f("9007199254740992.0")),
    ("float 1e20, whole, beyond integers", f64("4415af1d78b58c40"), f("1e20")),
    ("float NaN", f64("7ff8000000000000"), f("NaN")),
    ("float Infinity", f64("7ff0000000000000"), f("Infinity")),
    ("float -Infinity", f64("fff0000000000000"), f("-Infinity")),
    ("text empty", "a0", t("")),
    ("text", text_hex("hello"), t("hello")),
    ("text of 31 bytes", text_hex("x" * 31), t("x" * 31)),
    ("text of 32 bytes", text_hex("x" * 32), t("x" * 32)),
    ("text of 255 bytes", text_hex("x" * 255), t("x" * 255)),
    ("text of 256 bytes", text_hex("x" * 256), t("x" * 256)),
    ("text of 2, 3 and 4 byte letters", text_hex("\u00e4\u20ac\U0001f418"), t("\u00e4\u20ac\U0001f418")),
    ("text with a zero byte", text_hex("a\0b"), t("a\0b")),
    ("text of the last code point", text_hex("\U0010ffff"), t("\U0010ffff")),
    ("text not normalised", text_hex("e\u0301"), t("e\u0301")),
    ("text with a byte order mark", text_hex("\ufeffx"), t("\ufeffx")),
    ("bytes empty", "c400", b("")),
    ("bytes", "c403" "00ff80", b("00ff80")),
    ("bytes that look like text", "c403" "616263", b("616263")),
    ("bytes of 255", "c4ff" + "ab" * 255, b("ab" * 255)),
    ("bytes of 256", "c50100" + "ab" * 256, b("ab" * 256)),
    ("list empty", "90", ls()),
    ("list of all types", "98" "c0" "c3" "01" + f64("3ff8000000000000") + "a178" "c40100" "90" "80",
     ls(None, True, i(1), f("1.5"), t("x"), b("00"), ls(), mp())),
    ("list of 15", "9f" + "00" * 15, ls(*[i(0)] * 15)),
    ("list of 16", "dc0010" + "00" * 16, ls(*[i(0)] * 16)),
    ("list of integer, float and float", "93" "01" + f64("3ff0000000000000") + f64("8000000000000000"),
     ls(i(1), f("1.0"), f("-0.0"))),
    ("map empty", "80", mp()),
    ("map", "82" "a161" "01" "a162" "02", mp(("a", i(1)), ("b", i(2)))),
    ("map with an empty key", "81" "a0" "c0", mp(("", None))),
    ("map with keys like numbers", "82" "a131" "01" "a132" "02", mp(("1", i(1)), ("2", i(2)))),
    ("map with the key __proto__", "81" "a95f5f70726f746f5f5f" "01", mp(("__proto__", i(1)))),
    ("map with a null value", "81" "a161" "c0", mp(("a", None))),
    ("map of 16", "de0010" + "".join(pack(f"k{n:02}").hex() + "c3" for n in range(16)),
     mp(*[(f"k{n:02}", True) for n in range(16)])),
    ("map in list in map", "81" "a161" "91" "81" "a162" "91" "c2", mp(("a", ls(mp(("b", ls(False))))))),
    ("timestamp at the epoch", "d6ff00000000", ts(0)),
    ("timestamp in seconds", "d6ff" "65a0bc80", ts(0x65A0BC80)),
    ("timestamp, the last of 32 bits", "d6ffffffffff", ts(2**32 - 1)),
    ("timestamp, the first past 32 bits", "d7ff" "0000000100000000", ts(2**32)),
    ("timestamp with a millisecond", "d7ff" + f"{(1_000_000 << 34) | 1_700_000_000:016x}", ts(1_700_000_000, 1_000_000)),
    ("timestamp with a microsecond", "d7ff" + f"{(1_000 << 34) | 1_700_000_000:016x}", ts(1_700_000_000, 1_000)),
    ("timestamp with a nanosecond", "d7ff" + f"{(1 << 34) | 1_700_000_000:016x}", ts(1_700_000_000, 1)),
    ("timestamp with 999999999 ns", "d7ff" + f"{(999_999_999 << 34) | 1_700_000_000:016x}", ts(1_700_000_000, 999_999_999)),
    ("timestamp, the last of 34 bits", "d7ff" + f"{2**34 - 1:016x}", ts(2**34 - 1)),
    ("timestamp, the first past 34 bits", "c70cff" "00000000" + f"{2**34:016x}", ts(2**34)),
    ("timestamp before the epoch", "c70cff" "00000000" "ffffffffffffffff", ts(-1)),
    ("timestamp before the epoch with ns", "c70cff" "1dcd6500" "ffffffffffffffff", ts(-1, 500_000_000)),
    ("timestamp, start of year 1", "c70cff" "00000000" + struct.pack(">q", -62_135_596_800).hex(), ts(-62_135_596_800)),
    ("timestamp, end of year 9999", "c70cff" + struct.pack(">Iq", 999_999_999, 253_402_300_799).hex(),
     ts(253_402_300_799, 999_999_999)),
    ("timestamp in a map", "81" "a174" "d6ff00000001", mp(("t", ts(1)))),
    ("lists 64 deep", "91" * 64 + "01", nested_list(64)),
    ("maps 64 deep", "81a16b" * 64 + "01", nested_map(64)),
]  # fmt: skip

LONG_FORMS: list[tuple[str, str, Any]] = [
    ("1 as uint8", "cc01", i(1)),
    ("1 as uint16", "cd0001", i(1)),
    ("1 as uint32", "ce00000001", i(1)),
    ("1 as uint64", "cf0000000000000001", i(1)),
    ("1 as int8", "d001", i(1)),
    ("1 as int16", "d10001", i(1)),
    ("1 as int32", "d200000001", i(1)),
    ("1 as int64", "d30000000000000001", i(1)),
    ("-1 as int64", "d3ffffffffffffffff", i(-1)),
    ("2^53 + 1 as int64", "d30020000000000001", i(2**53 + 1)),
    ("float32 1.5", f32(1.5), f("1.5")),
    ("float32 0.1, exact as float64", f32(0.1), f("0.10000000149011612")),
    ("float32 -0.0", f32(-0.0), f("-0.0")),
    ("float32 NaN", "ca7fc00000", f("NaN")),
    ("float32 Infinity", "ca7f800000", f("Infinity")),
    ("float32 -Infinity", "caff800000", f("-Infinity")),
    ("float32 the smallest", "ca00000001", f("1.401298464324817e-45")),
    ("NaN with a payload", f64("7ff8000000000123"), f("NaN")),
    ("NaN, negative", f64("fff8000000000000"), f("NaN")),
    ("NaN, signalling", f64("7ff0000000000001"), f("NaN")),
    ("text as str8", "d90161", t("a")),
    ("text as str16", "da000161", t("a")),
    ("text as str32", "db0000000161", t("a")),
    ("bytes as bin16", "c500010a", b("0a")),
    ("bytes as bin32", "c6000000010a", b("0a")),
    ("list as array16", "dc0001c0", ls(None)),
    ("list as array32", "dd00000001c0", ls(None)),
    ("map as map16", "de0001a16101", mp(("a", i(1)))),
    ("map as map32", "df00000001a16101", mp(("a", i(1)))),
    ("map key as str32", "81db000000016101", mp(("a", i(1)))),
    ("timestamp in seconds as 64 bits", "d7ff0000000000000001", ts(1)),
    ("timestamp in seconds as 96 bits", "c70cff000000000000000000000001", ts(1)),
    ("timestamp of 32 bits as ext8", "c704ff00000001", ts(1)),
    ("timestamp of 96 bits as ext32", "c90000000cff000000000000000000000001", ts(1)),
]  # fmt: skip

REFUSED: list[tuple[str, str, str]] = [
    ("nothing", "", "no value"),
    ("text of a broken sequence", "a2c328", "not UTF-8"),
    ("text of a lone surrogate", "a3eda080", "not UTF-8"),
    ("text of an overlong sequence", "a2c0af", "not UTF-8"),
    ("text that is cut", "a2e282", "not UTF-8"),
    ("text beyond the last code point", "a4f4908080", "not UTF-8"),
    ("text of a lone continuation byte", "a180", "not UTF-8"),
    ("text that is broken in a list", "92" "01" "a1ff", "not UTF-8"),
    ("key that is not UTF-8", "81" "a1ff" "01", "not UTF-8"),
    ("key is an integer", "81" "01" "02", "key is not text"),
    ("key is nil", "81" "c0" "02", "key is not text"),
    ("key is bytes", "81" "c40161" "02", "key is not text"),
    ("key is a float", "81" + f64("3ff0000000000000") + "02", "key is not text"),
    ("key is true", "81" "c3" "02", "key is not text"),
    ("key is a list", "81" "90" "02", "key is not text"),
    ("key is a timestamp", "81" "d6ff00000000" "02", "key is not text"),
    ("key of another type in a list", "91" "82" "a161" "01" "02" "03", "key is not text"),
    ("key twice", "82" "a161" "01" "a161" "02", "key twice"),
    ("key twice, in two widths", "82" "a161" "01" "d90161" "02", "key twice"),
    ("key twice with the same value, deep", "91" "82" "a161" "01" "a161" "01", "key twice"),
    ("ext 0", "d40000", "extension type"),
    ("ext 1", "d40100", "extension type"),
    ("ext -2", "d4fe00", "extension type"),
    ("ext 5 of 16 bytes", "d805" + "00" * 16, "extension type"),
    ("ext 127 as ext8 of no bytes", "c7007f", "extension type"),
    ("ext 42 in a map", "81" "a161" "d42a00", "extension type"),
    ("timestamp of 1 byte", "d4ff00", "timestamp"),
    ("timestamp of no bytes", "c700ff", "timestamp"),
    ("timestamp of 16 bytes", "d8ff" + "00" * 16, "timestamp"),
    ("timestamp of 64 bits with 10^9 ns", "d7ff" + f"{(1_000_000_000 << 34) | 1:016x}", "timestamp"),
    ("timestamp of 96 bits with 10^9 ns", "c70cff" + struct.pack(">Iq", 1_000_000_000, 1).hex(), "timestamp"),
    ("timestamp in year 0", "c70cff" + struct.pack(">Iq", 0, -62_135_596_801).hex(), "timestamp"),
    ("timestamp in year 10000", "c70cff" + struct.pack(">Iq", 0, 253_402_300_800).hex(), "timestamp"),
    ("timestamp at -2^63 s", "c70cff" + struct.pack(">Iq", 0, -(2**63)).hex(), "timestamp"),
    ("lists 65 deep", "91" * 65 + "01", "depth"),
    ("empty lists 65 deep", "91" * 64 + "90", "depth"),
    ("maps 65 deep", "81a16b" * 65 + "01", "depth"),
    ("lists and maps 65 deep", ("91" "81a16b") * 32 + "91" "01", "depth"),
    ("two values", "0102", "bytes behind the value"),
    ("a value and a zero byte", "a16100", "bytes behind the value"),
    ("a map and never used byte", "80c1", "bytes behind the value"),
    ("never used byte", "c1", "not msgpack"),
    ("never used byte in a list", "91c1", "not msgpack"),
    ("cut integer", "cd01", "cut"),
    ("cut float", "cb3ff0", "cut"),
    ("cut text", "a361", "cut"),
    ("cut text length", "d9", "cut"),
    ("cut bytes", "c40301", "cut"),
    ("cut list", "9201", "cut"),
    ("cut map, no value", "81a161", "cut"),
    ("cut map, no key", "82a16101", "cut"),
    ("cut ext", "d6ff0000", "cut"),
    ("array32 lies", "ddffffffff", "cut"),
    ("array32 lies, then a value", "ddffffffff01", "cut"),
    ("map32 lies", "dfffffffff", "cut"),
    ("str32 lies", "dbffffffff", "cut"),
    ("bin32 lies", "c6ffffffff", "cut"),
    ("ext32 lies", "c9ffffffffff", "cut"),
]  # fmt: skip

BOMBS: list[tuple[str, str, int, str]] = [
    ("64 MiB of lists in lists", "91", 64 << 20, "depth"),
    ("60 MiB of maps in maps", "81a0", 30 << 20, "depth"),
    ("65 times array32 that lies", "ddffffffff", 65, "depth"),
    ("13 million arrays that lie", "ddffffffff", 13_000_000, "depth"),
]  # fmt: skip


def entries() -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"name": n, "bytes": h, "value": v} for n, h, v in CASES]
    out += [{"name": n, "canonical": False, "bytes": h, "value": v} for n, h, v in LONG_FORMS]
    out += [{"name": n, "bytes": h, "refuse": True, "why": w} for n, h, w in REFUSED]
    out += [
        {"name": n, "repeat": {"hex": h, "count": c}, "refuse": True, "why": w}
        for n, h, c, w in BOMBS
    ]
    for entry in out:
        if "bytes" in entry:
            bytes.fromhex(entry["bytes"])
    return out
