"""Data: where they come from, what is done to them, and batches of them.

The engine's own loader makes the batches, in threads of its own: the same order and the same bits as in ``cyxwiz
train`` with the same seed.
"""

from cyxwiz.data import transforms
from cyxwiz.data.loader import Batches, DataLoader, data_folder
from cyxwiz.data.sources import CSV, IDX, NPY, NPZ, Arrays, Dataset, ImageFolder, Safetensors, Source

__all__ = [
    "CSV",
    "IDX",
    "NPY",
    "NPZ",
    "Arrays",
    "Batches",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "Safetensors",
    "Source",
    "data_folder",
    "transforms",
]
