"""Write the pictures of the README and the documentation: `python docs/make_images.py runs/demo`, `... runs/study-dial`."""

import sys
from pathlib import Path

from torsor.report.plots import learning_curves, sweep
from torsor.study import analyse, analyse_sweep

# the page's own colours do not reach a picture that stands alone: grey reads on light and on dark
COLOURS = {"currentColor": "#7d8590", "var(--rule)": "#7d859055"}


def write(name: str, svg: str) -> None:
    """Write a picture that stands alone."""
    for stand_in, colour in COLOURS.items():
        svg = svg.replace(stand_in, colour)
    if "xmlns=" not in svg:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    """The picture of the demo, or of the dial experiment."""
    directory = Path(sys.argv[1])
    if (directory / "sweep.json").is_file():
        write("dial", sweep(*analyse_sweep(directory)))
    else:
        write("first_answer", learning_curves(analyse(directory / "planets")))


if __name__ == "__main__":
    main()
