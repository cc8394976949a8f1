"""What the scripts' command lines share: help as written, one line for a bad argument."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Shows a script's docstring as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_rounds(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--rounds",
        type=whole(1),
        default=default,
        help="turns of each contestant, of which the median counts (default: %(default)s)",
    )


def add_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "tables", nargs="+", type=existing_file, help="CSV or Parquet files"
    )
    parser.add_argument(
        "--target",
        default="target",
        help="column with the two labels, in each table (default: %(default)s)",
    )


def add_quick(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, to see that it works; its figures mean nothing",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", type=new_file, metavar="FILE", help="also write the figures here"
    )


def whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    """Reads a whole number within bounds."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        if int(text) > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most}")
        return int(text)

    return number


seed = whole(0, 2**32 - 1)


def positive(text: str) -> float:
    """Reads a finite number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return number


def share(text: str) -> float:
    """Reads a number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def existing_file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def existing_folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text)


def new_file(text: str) -> Path:
    """A file that can be written when all is measured, which may be hours later."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path
