"""A misspelt option is named, with what it may have been meant to be, before anything else is said."""

import pytest

from espnet_vivit.command_parser import CommandParser
from espnet_vivit.prepare import build_parser


@pytest.fixture
def parser() -> CommandParser:
    parser = CommandParser(prog="tool")
    parser.add_argument("video")
    parser.add_argument("--model", required=True)
    parser.add_argument("--output")
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
        (["--model", "m", "--", "--outptu", "x"], "tool: error: unrecognized arguments: x"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(parser, argv, message, capsys):
    assert refusal(parser, argv, capsys) == message


def test_right_command_lines_are_parsed_as_argparse_does(parser):
    found = parser.parse_args(["a.mp4", "--model", "m", "--out", "x"])  # abbreviated, as argparse allows
    assert (found.video, found.model, found.output) == ("a.mp4", "m", "x")


def test_options_of_a_commands_commands_are_known(capsys):
    message = refusal(build_parser(), ["folder", "videos", "out", "--veiw", "64"], capsys)
    assert message.endswith("error: no option --veiw: did you mean --view?")
