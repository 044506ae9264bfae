"""Datasets: labelled pictures in the formats of PASCAL VOC, COCO, Open Images, ImageNet and YOLO."""

from onelook.data.reading import FORMATS, read, splits
from onelook.data.sample import Dataset, Mask, Polygons, Problem, Rle, Sample
from onelook.data.writing import convert, write

__all__ = ["FORMATS", "Dataset", "Mask", "Polygons", "Problem", "Rle", "Sample", "convert", "read", "splits", "write"]
