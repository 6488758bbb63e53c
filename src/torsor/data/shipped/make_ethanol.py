"""Make `rmd17_ethanol_split01.safetensors` from the published rMD17 archive: `python make_ethanol.py FOLDER`.

FOLDER is a folder of data sets as `data.rmd17` reads them. Positions and energies stay float64; forces become float32 (seven digits), so
that the file stays below 1 MB.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from torsor.data.rmd17 import SHIPPED, read_rmd17

METADATA = {
    "source": "rMD17, ethanol, official split 01, doi:10.6084/m9.figshare.12672038",
    "licence": "CC0-1.0",
    "units": "angstrom, kcal/mol, kcal/mol/angstrom",
}


def main(folder: Path) -> None:
    """Write the file beside this script."""
    train, test = read_rmd17("ethanol", 1, folder)
    arrays = {"Z": train.numbers[0].numpy().astype(np.uint8)}
    for part, molecules in (("train", train), ("test", test)):
        arrays[f"{part}_R"] = molecules.positions.numpy()
        arrays[f"{part}_E"] = molecules["energy"].numpy()
        arrays[f"{part}_F"] = molecules["forces"].numpy().astype(np.float32)
    save_file(arrays, Path(__file__).parent / SHIPPED, metadata=METADATA)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
