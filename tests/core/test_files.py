"""Files that are written whole, and through no link."""

import os
import stat

import pytest

from nvc_jax.core.errors import UserError, printable
from nvc_jax.core.files import open_to_append, refuse_links, replace_file
from tests.refusals import refused


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "run"
    victim.write_text("mine")
    folder.mkdir()
    for name in ("partial.results.json", "results.json"):
        (folder / name).symlink_to(victim)
    replace_file(folder / "results.json", b"{}")
    assert victim.read_text() == "mine"
    assert (folder / "results.json").read_bytes() == b"{}"
    assert not (folder / "results.json").is_symlink()
    assert sorted(os.listdir(folder)) == ["results.json"]
    mask = os.umask(0o022)
    os.umask(mask)
    mode = stat.S_IMODE((folder / "results.json").stat().st_mode)
    assert mode == 0o666 & ~mask  # as of any new file


def test_what_a_killed_process_left_is_replaced(tmp_path):
    (tmp_path / "partial.a").write_text("half")
    replace_file(tmp_path / "a", b"whole")
    assert os.listdir(tmp_path) == ["a"]
    (tmp_path / "partial.a").mkdir()
    refused(
        "a could not be written .*: other files are untouched", replace_file, tmp_path / "a", b""
    )
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_nothing_is_appended_through_a_link(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "metrics.jsonl"
    victim.write_text("mine")
    link.symlink_to(victim)
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        open_to_append(link)
    link.unlink()
    for text in ("a\n", "ü\n"):
        with open_to_append(link) as file:
            file.write(text)
    assert link.read_text("utf-8") == "a\nü\n" and victim.read_text() == "mine"


def test_links_in_a_folder_are_named_and_the_folder_may_be_one(tmp_path):
    (tmp_path / "real" / "figures").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refuse_links(tmp_path / "link", ("figures", "missing"))
    (tmp_path / "real" / "shapes").symlink_to("/nowhere")
    refused(r"shapes is a link to /nowhere", refuse_links, tmp_path / "link", ("figures", "shapes"))


def test_messages_control_no_terminal_and_stay_short():
    name = "a\x1b[2J\r\n\x9b1m\u202etxt\udcff\ufeff.png"
    message = str(UserError(f"{name} has {'9' * 4000} pixels, {'x' * 9000}"))
    assert message.startswith(
        r"a\x1b[2J\r\n\x9b1m\u202etxt\udcff\ufeff.png has 9999999999…(4000 digits) "
    )
    assert len(message) < 5000 and message.encode().decode() == message
    plain = "Stühle in Ordner, C:\\x1b, 東京"
    assert printable(plain) == plain and printable(printable(name)) == printable(name)
