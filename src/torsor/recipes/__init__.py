"""Published experiments, one a TOML file: task, model, training settings and the published figures.

A recipe `se3-transformer/nbody` is the file `se3-transformer/nbody.toml` of this folder. A file with `[variants.NAME]` holds one recipe for
each, `molecules/rmd17-ethanol` being the variant `ethanol` of `molecules/rmd17.toml`. A recipe of one's own is any such file.
"""

from torsor.recipes.recipe import Published, Recipe, Size, load_recipe, recipe_files, recipe_names
from torsor.recipes.record import MeasuredError, Record, read_records, record_of, record_of_protocol

__all__ = [
    "MeasuredError",
    "Published",
    "Recipe",
    "Record",
    "Size",
    "load_recipe",
    "read_records",
    "recipe_files",
    "recipe_names",
    "record_of",
    "record_of_protocol",
]
