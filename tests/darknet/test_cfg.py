from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook import DarknetError
from onelook.darknet import read_cfg
from onelook.darknet.cfg import MAX_BYTES


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "net.cfg"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_blanks_comments_and_first_of_equal_keys_are_read_as_darknet_reads_them(tmp_path: Path) -> None:
    cfg = read_cfg(
        write(
            tmp_path, "# head\n[net]\r\n wid th = 4 16 \n;x=1\nheight=32 # rows\nheight=64\n\n[yolo]\nmask = 0, 1,2\n"
        )
    )
    assert cfg.net.integer("width") == 416
    assert cfg.net.integer("height") == 32
    assert cfg.layers[0].integers("mask") == (0, 1, 2)
    assert (cfg.layers[0].name, cfg.layers[0].line, cfg.layers[0].options["mask"].line) == ("yolo", 8, 9)


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert read_cfg(write(tmp_path, "\ufeff[net]\nwidth=1\n[avgpool]\n")).net.name == "net"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first section of a Darknet cfg must be [net]"),
        ("[convolutional]\nfilters=1\n", "first section of a Darknet cfg must be [net]"),
        ("[net]\nwidth=1\n", "describes no layers"),
        ("width=1\n[net]\n", ":1: 'width' stands before the first [section]"),
        ("[net]\nwidth\n", ":2: expected key=value; found 'width'"),
        ("[net]\n=3\n", ":2: expected key=value; found '=3'"),
        ("[net\nwidth=3\n", ":1: a section is written [name]; found '[net'"),
        ("[net]\n[\33[31m]\n", r":2: a section is written [name]; found '[\x1b[31m]'"),
        ("[net]\n[" + "x" * 50 + "]\n", ":2: a section is written [name]; found '[xxx"),
        ("\33[31m=1\n", r":1: '\x1b[31m' stands before the first [section]"),
        (b"[net]\n\0\0", "is not a Darknet cfg"),
        (b"#" * (MAX_BYTES + 1), "is not a Darknet cfg"),
        ("[net]\n" + "[dropout]\n" * 5000, "has more than 4096 sections"),
    ],
)
def test_malformed_files_are_refused_in_one_line_that_says_where(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(DarknetError) as error:
        read_cfg(write(tmp_path, text))
    assert message in str(error.value)
    assert str(tmp_path / "net.cfg") in str(error.value)
    assert str(error.value).isprintable()


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.cfg", tmp_path):
        with pytest.raises(DarknetError, match="cannot be read"):
            read_cfg(path)


@pytest.mark.parametrize("value", ["many", "", "1.5", "0", "-1", "99999999999999999999", "nan", "0x10"])
def test_options_that_are_no_number_in_range_name_line_section_and_key(tmp_path: Path, value: str) -> None:
    section = read_cfg(write(tmp_path, f"[net]\n[convolutional]\n\nfilters={value}\n")).layers[0]
    with pytest.raises(DarknetError, match=r"net\.cfg:4: \[convolutional\] needs 'filters', an integer from 1 to"):
        section.integer("filters")


@pytest.mark.parametrize("value", ["1,two", "1,,2", ",", "1;2", "inf", "nan", "1e99"])
def test_lists_with_something_else_than_numbers_are_refused(tmp_path: Path, value: str) -> None:
    section = read_cfg(write(tmp_path, f"[net]\n[yolo]\nanchors={value}\n")).layers[0]
    with pytest.raises(DarknetError, match=r"net\.cfg:3: \[yolo\] needs 'anchors', numbers separated by commas"):
        section.numbers("anchors")


@given(data=st.binary(max_size=300) | st.text(alphabet="[]net=1,#\n yolo", max_size=200).map(str.encode))
def test_any_bytes_are_a_cfg_or_a_darknet_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cfg"
    path.write_bytes(data)
    try:
        read_cfg(path)
    except DarknetError as error:
        assert "\n" not in str(error)
