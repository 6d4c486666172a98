"""The commands of `espnet-vivit`: one file, one command, `main(argv) -> exit status`."""
