"""How good a model is."""

from onelook.metrics.classifier import ClassifierResult, classifier_result
from onelook.metrics.coco import CocoResult, coco_ap
from onelook.metrics.confusion import confusion
from onelook.metrics.curves import Best, Curve, curves
from onelook.metrics.mistakes import Mistake, mistakes
from onelook.metrics.open_images import OpenImagesResult, open_images_ap
from onelook.metrics.segmentation import SegmentationResult, mean_iou, segmentation_result
from onelook.metrics.table import Found
from onelook.metrics.top_k import top_k
from onelook.metrics.voc import VocResult, voc_ap

__all__ = [
    "Best",
    "ClassifierResult",
    "CocoResult",
    "Curve",
    "Found",
    "Mistake",
    "OpenImagesResult",
    "SegmentationResult",
    "VocResult",
    "classifier_result",
    "coco_ap",
    "confusion",
    "curves",
    "mean_iou",
    "mistakes",
    "open_images_ap",
    "segmentation_result",
    "top_k",
    "voc_ap",
]
