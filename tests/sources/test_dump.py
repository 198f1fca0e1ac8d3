"""Files of samples with their times: what is read, and what is said of those that cannot be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from engine.model.labels import Labels
from engine.sources.dump import DumpError, read_dump

SERIES = Labels({"__name__": "free", "instance": "a", "path": 'C:\\ "x"'})
WRITTEN = r'{instance="a",path="C:\\ \"x\""}'


@pytest.mark.parametrize(
    "text",
    [
        f"# TYPE free gauge\n# UNIT free bytes\nfree{WRITTEN} 1.5 1795000000\nfree{WRITTEN} NaN 1795000015.25\n# EOF\n",
        f'free{WRITTEN} 1.5 1795000000 # {{trace="1"}} 2\nfree{WRITTEN} NaN 1795000015.25\n# EOF',
        f"free{WRITTEN} 1.5 1795000000000\n\n  free{WRITTEN} NaN 1795000015250\n",
        f'{{__name__="free",{WRITTEN[1:]} 1.5 1795000000000\r\n{{__name__="free", {WRITTEN[1:]} NaN 1795000015250\r\n',
    ],
    ids=["OpenMetrics", "OpenMetrics with an exemplar", "text format", "tsdb dump"],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_says_the_same(tmp_path: Path, text: str, packed: bool) -> None:
    file = tmp_path / ("samples.om.gz" if packed else "samples.om")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    first, second = read_dump(file)
    assert first == (SERIES, 1_795_000_000_000, 1.5)
    assert second[:2] == (SERIES, 1_795_000_015_250)
    assert second[2] != second[2]


def test_a_file_without_samples_has_none(tmp_path: Path) -> None:
    for text in ("", "# EOF\n", "# HELP free Free.\n\n"):
        (tmp_path / "samples").write_text(text)
        assert list(read_dump(tmp_path / "samples")) == []


GOOD = b"free 1 1795000000000\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD + b"free 1\n", 2, "no time behind the value; a line is a series, a value and a time"),
        (GOOD + b"free{ 1 1795000000000\n", 2, "not a label"),
        (GOOD + b"free\n", 2, "no value"),
        (GOOD + b"free much 1795000000000\n", 2, "not a number: 'much'"),
        (GOOD + b"free 1 soon\n", 2, "not a number: 'soon'"),
        (GOOD + b"free 1 NaN\n", 2, "not a time: NaN"),
        (GOOD + b"free 1 1e18\n", 2, "times are milliseconds since 1970"),
        (GOOD + b'free{a="\xe9"} 1 1795000000000\n', 2, "write the file anew as UTF-8"),
        (GOOD + b'free{a="' + b"x" * 70_000 + b'"} 1 1795000000000\n', 2, "longer than 65536 bytes"),
        (b"\n# TYPE free gauge\n" + GOOD + b"# EOF\n", 3, "leave that line out, or write seconds"),
        (b"free 1 1795000000\nfree 1 17950", 1, "the last line must be '# EOF': the file is cut off, or lacks it"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_helps(tmp_path: Path, text: bytes, line: int, words: str) -> None:
    file = tmp_path / "samples.om"
    file.write_bytes(text)
    with pytest.raises(DumpError) as raised:
        list(read_dump(file))
    assert raised.value.line == line
    assert words in str(raised.value)


def test_what_a_file_has_before_its_mistake_is_read(tmp_path: Path) -> None:
    (tmp_path / "samples").write_bytes(GOOD + b"free\n")
    found = read_dump(tmp_path / "samples")
    assert next(found)[1] == 1_795_000_000_000
    with pytest.raises(DumpError, match="line 2"):
        next(found)


WHOLE = gzip.compress(b"".join(b"free %d 1795000000%03d\n" % (each * each, each) for each in range(999)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (WHOLE[: len(WHOLE) // 2], "it ends before its gzip stream does"),
        (GOOD, "what is not compressed must not end in .gz"),
        (WHOLE[:200] + bytes(each ^ 0x55 for each in WHOLE[200:260]) + WHOLE[260:], "gzip cannot read it"),
        (WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], "gzip cannot read it"),
    ],
    ids=["cut", "plain", "damaged", "checksum"],
)
def test_a_compressed_file_that_is_damaged_is_said_to_be(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "samples.gz").write_bytes(data)
    with pytest.raises(DumpError, match=words):
        list(read_dump(tmp_path / "samples.gz"))


def test_it_is_told_how_much_is_read(tmp_path: Path) -> None:
    file = tmp_path / "samples"
    file.write_text("".join(f"free {each} {1_795_000_000_000 + each}\n" for each in range(250_000)))
    told: list[tuple[int, int]] = []
    assert sum(1 for _ in read_dump(file, lambda *each: told.append(each))) == 250_000
    assert len(told) == 2
    assert 0 < told[0][0] < told[1][0] <= told[0][1] == file.stat().st_size
