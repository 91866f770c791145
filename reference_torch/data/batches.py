"""torch's data sets, loaders and splits, under the names of `jaxdnn.data.batches`."""

from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "random_split"]
