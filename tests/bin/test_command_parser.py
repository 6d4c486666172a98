"""A misspelt option is named, with what it may have been meant to be, before anything else is said."""

import errno
import os

import pytest

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.bin.commands.prepare import build_parser


@pytest.fixture
def parser() -> CommandParser:
    parser = CommandParser(prog="tool")
    parser.add_argument("video")
    parser.add_argument("--model", required=True)
    parser.add_argument("--output")
    parser.add_argument("--codec", choices=("h264", "ffv1"))
    parser.add_argument("--size", type=int, choices=(48, 96))
    return parser


def refusal(parser: CommandParser, argv: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["a.mp4", "--model", "m", "--outptu", "x"], "tool: error: no option --outptu: did you mean --output?"),
        (["--modle=m"], "tool: error: no option --modle: did you mean --model?"),  # not: video is missing
        (["a.mp4", "--model", "m", "--qqq"], "tool: error: no option --qqq: --help lists those there are"),
        (["--model", "m"], "tool: error: the following arguments are required: video"),
        (
            ["a.mp4", "--model", "m", "--codec", "h246"],
            "tool: error: argument --codec: unknown value: found 'h246'; expected one of ffv1, h264. "
            "Did you mean 'h264'?",
        ),
        (
            ["a.mp4", "--model", "m", "--size", "7"],
            "tool: error: argument --size: unknown value: found 7; expected one of 48, 96. Choose one of these names.",
        ),
        (["--model", "m", "--", "--outptu", "x"], "tool: error: unrecognized arguments: x"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(parser, argv, message, capsys):
    assert refusal(parser, argv, capsys) == message


def test_right_command_lines_are_parsed_as_argparse_does(parser):
    argv = ["a.mp4", "--model", "m", "--out", "x", "--codec", "ffv1", "--size", "96"]  # abbreviated, as argparse allows
    found = parser.parse_args(argv)
    assert (found.video, found.model, found.output, found.codec, found.size) == ("a.mp4", "m", "x", "ffv1", 96)


def test_options_of_a_commands_commands_are_known(capsys):
    message = refusal(build_parser(), ["folder", "videos", "out", "--veiw", "64"], capsys)
    assert message.endswith("error: no option --veiw: did you mean --view?")


def test_a_misspelt_command_of_a_command_is_corrected(capsys):
    message = refusal(build_parser(), ["foldr", "videos", "out"], capsys)
    assert "unknown command: found 'foldr'; expected one of" in message and message.endswith("Did you mean 'folder'?")


@pytest.mark.parametrize(
    ("number", "path", "said"),
    [
        (errno.ENOSPC, None, "No space left on device. Make room on the disk"),
        (errno.EROFS, "/a/b", "Read-only file system: /a/b. It may only be read"),
        (errno.EACCES, "/a/b", "Permission denied: /a/b. Give yourself the permission"),
        (errno.ENOENT, "/a/b", "No such file or directory: /a/b. Check that path"),
        (errno.ELOOP, "/a/b", "symbolic links: /a/b"),
        (errno.EISDIR, "/a/b", "Is a directory: /a/b"),
        (errno.EMFILE, None, "Too many open files. More files are open"),
    ],
)
def test_what_disks_and_permissions_do_is_a_sentence(number, path, said, capsys):
    def main(argv):
        raise OSError(number, os.strerror(number), path)

    assert exit_status(main) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and said in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    "error", [OSError("x"), OSError(errno.EPIPE, "x"), OSError(errno.ENOENT, "x"), ValueError("x")]
)
def test_what_may_be_a_defect_of_ours_keeps_its_traceback(error):
    def main(argv):
        raise error

    with pytest.raises(type(error)):
        exit_status(main)
