"""Takes the README's pictures: the report of a training run, and the playground.

Trains on the built-in table, makes both pages in a temporary folder, and photographs them
with Chromium (scripts/install_chromium.sh installs it):

    python scripts/draw_pictures.py docs

writes docs/report.png and docs/playground.png.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from arguments import add_quick, existing_folder, make_parser

# The spiral under 16 units, on the way, and a point of it.
VIEW = "#set=2&learning_rate=1&width=2&batch_size=1&init=0&snapshot=20&point=44&size=same"


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("out", type=existing_folder, help="folder for the two pictures")
    add_quick(parser)
    options = parser.parse_args()
    browser = shutil.which("chromium")
    if browser is None:
        parser.error("needs chromium: scripts/install_chromium.sh installs it")
    few, runs = (), ()
    if options.quick:
        few = ("--epochs", "3", "--hidden", "2")
        runs = (*few, "--learning-rate", "1", "--batch-size", "all", "--init", "he")
    with TemporaryDirectory() as folder:
        model, page = Path(folder) / "model", Path(folder) / "playground.html"
        jaxmlp("train", "--out", str(model), *few)
        jaxmlp("playground", "--out", str(page), *runs)
        report = (model / "report.html").resolve().as_uri()
        photograph(browser, report, options.out / "report.png", height=1240)
        playground = page.resolve().as_uri() + VIEW
        photograph(browser, playground, options.out / "playground.png", height=1240)


def jaxmlp(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "jaxmlp", *arguments, "--quiet"], check=True)


def photograph(browser: str, address: str, out: Path, *, height: int) -> None:
    """Writes a picture of the top of a page, as PNG."""
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=5000",
        f"--window-size=1200,{height}",
        f"--screenshot={out.resolve()}",
        address,
    ]
    subprocess.run(command, check=True, capture_output=True)
    print(out)


if __name__ == "__main__":
    main()
