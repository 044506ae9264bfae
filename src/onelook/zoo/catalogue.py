"""The public models that can be loaded by name: where they lie, what they are, what was published of them.

No digest here is guessed. Each SHA-256 was seen published for its file by at least two independent projects, or was
computed from the file itself; a comment says where it was only one, and `None` means that none was found. Every cfg is
pinned to a commit. The size of weights follows from their cfg (4 bytes a number after a header of 16 or 20 bytes).
"""

import difflib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from onelook.errors import ZooError
from onelook.names import BACKGROUND, COCO, VOC, imagenet


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the web: its address, its SHA-256 (64 lower-case hex digits, None where unknown), its size in bytes."""

    url: str
    sha256: str | None
    size: int

    @property
    def name(self) -> str:
        """The last part of the address: `yolov3.weights`."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


@dataclass(frozen=True, slots=True)
class Published:
    """Accuracy that the authors reported, in percent.

    `ap50` is the mean over classes of the average precision at IoU 0.5 (for VOC, its mAP); `ap` is COCO's, the mean
    over IoU 0.5 to 0.95, where it was reported.
    """

    ap50: float
    ap: float | None
    dataset: str
    source: str


@dataclass(frozen=True, slots=True)
class PublishedTop:
    """Accuracy of a classifier that the authors reported, in percent: its first class, one of its first five."""

    top1: float
    top5: float
    dataset: str
    source: str


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name, family: of the model.
        size: side of its square input, pixels.
        classes: their names in order.
        licence: of the weights.
        files: what it is converted from: Darknet's cfg and weights, or one .tflite.
        published: None where nothing is known.
        task: "detect" or "classify".
    """

    name: str
    family: str
    size: int
    classes: tuple[str, ...]
    licence: str
    files: tuple[RemoteFile, ...]
    published: Published | PublishedTop | None
    task: str = "detect"

    @property
    def weights(self) -> RemoteFile:
        """The file with the numbers."""
        return self.files[-1]


# Darknet by its author: master since 2018, and two commits with which three of the cfgs were compared.
_REDMON = "https://raw.githubusercontent.com/pjreddie/darknet/f6afaabcdf85f77e7aff2ec55c020c0e297c77f9/cfg"
_REDMON_TINY = "https://raw.githubusercontent.com/pjreddie/darknet/332396e5888365bb8679cdc162cb4756baae2061/cfg"
_REDMON_V2 = "https://raw.githubusercontent.com/pjreddie/darknet/6df701b0d7e5ccc35b22d090f2a0697e4fd4d938/cfg"
# pjreddie.com/media/files, which older instructions name, answers with a web page since 2025.
_REDMON_FILES = "https://data.pjreddie.com/files"

# Darknet as continued for YOLOv4.
_ALEXEY = "https://raw.githubusercontent.com/AlexeyAB/darknet/59596d7880f6504768df41d6daa586f5cb2b932f/cfg"
_ALEXEY_FILES = "https://github.com/AlexeyAB/darknet/releases/download"

# The small networks of dog-qiuqiu; each path begins with its commit.
_FASTEST = "https://raw.githubusercontent.com/dog-qiuqiu/Yolo-Fastest"
_FASTEST_11 = f"{_FASTEST}/99d03d0f26e2555275bdb30f43479d47cc19311f/ModelZoo/yolo-fastest-1.1_coco"
_FASTEST_XL = f"{_FASTEST}/9c62b1c50e024fb73d29a651133b1d63548e63a1/ModelZoo/yolo-fastest-1.1_coco"
_NANO = "https://raw.githubusercontent.com/dog-qiuqiu/MobileNet-Yolo"
_NANO_CFG = f"{_NANO}/615ed68cbb5104bf6c9545c5bfdb117d5ddcabfa/MobileNetV2-YOLOv3-Nano/COCO"
_NANO_WEIGHTS = f"{_NANO}/72593c3b231d6e1bc188cef31ce1d47b70d69d52/MobileNetV2-YOLOv3-Nano/COCO"

# Quantized MobileNets of TensorFlow's authors, with their class names. Digests: of the files at hand; that of
# mobilenet_v2_1.0_224 was seen published for this address.
_CORAL = "https://raw.githubusercontent.com/google-coral/test_data/104342d2d3480b3e66203073dac24f4e2dbb4c41"
_SLIM = "github.com/tensorflow/models, slim/nets/mobilenet_v1.md (quantized)"
_IMAGENET = (BACKGROUND, *imagenet().values())

_APACHE = "Apache-2.0"
_PUBLIC_DOMAIN = "public domain (YOLO LICENSE, version 2)"
_UNSTATED = "not stated for the weights; published in a copy of Darknet (public domain)"

# fmt: off
_MODELS = (
    ZooModel(
        "yolov1", "YOLOv1", 448, VOC, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON}/yolov1.cfg",
                    "8b4b951dd646478ea4214cb389d152793ca98e5c6e67266884908ba084b6211e", 2_740),
         RemoteFile(f"{_REDMON_FILES}/yolov1/yolov1.weights",  # digest: one source
                    "df414df832ed10e3f2788df1e0e0ae573976573b97b5eec2c824ab9e5a8ae6d6", 789_312_988)),
        Published(63.4, None, "VOC 2007 test", "arXiv:1506.02640, table 1 (its network differs: no local layer)"),
    ),
    ZooModel(
        "yolov1-tiny", "YOLOv1", 448, VOC, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON_TINY}/yolov1-tiny.cfg",
                    "2e057d9f1ab316b810c618159b1d2280aaa063f56902239a600fe54d13974018", 1_324),
         RemoteFile(f"{_REDMON_FILES}/yolov1/tiny-yolov1.weights", None, 108_399_816)),
        None,  # the paper's Fast YOLO is another network
    ),
    ZooModel(
        "yolov2", "YOLOv2", 608, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON_V2}/yolov2.cfg",
                    "9bb5bd2620624613483c8447bc713fe99e0a4af5f8e8d923b81520a162993574", 2_726),
         RemoteFile(f"{_REDMON_FILES}/yolov2.weights",
                    "d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f", 203_934_260)),
        Published(48.1, None, "COCO test-dev", "pjreddie.com/darknet/yolo"),
    ),
    ZooModel(
        "yolov2-tiny", "YOLOv2", 416, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON_TINY}/yolov2-tiny.cfg",
                    "58e8f4390c8080a90a40f3b7ec5868ee9ae32519f3c08f57d104e494de04b34d", 1_488),
         # Digest: one source, for the copy in this release, whose yolov2 and yolov3 are the originals to the bit.
         RemoteFile("https://github.com/leggedrobotics/darknet_ros/releases/download/1.1.4/yolov2-tiny.weights",
                    "16f4e870f1aed83f0089cb69bfda6b53cb7b2a4a01721be56eaf5c899dfac45f", 44_948_600)),
        Published(23.7, None, "COCO test-dev", "pjreddie.com/darknet/yolo"),
    ),
    ZooModel(
        "yolov2-voc", "YOLOv2", 416, VOC, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON}/yolov2-voc.cfg",
                    "ecf8b24ca01bdedc5c569300a6e99120ca5e251108eaa973b9cb19e28ed93352", 2_721),
         RemoteFile(f"{_REDMON_FILES}/yolov2-voc.weights", None, 202_704_264)),
        Published(76.8, None, "VOC 2007 test", "arXiv:1612.08242, table 3"),
    ),
    ZooModel(
        "yolov3", "YOLOv3", 608, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON}/yolov3.cfg",
                    "22489ea38575dfa36c67a90048e8759576416a79d32dc11e15d2217777b9a953", 8_342),
         RemoteFile(f"{_REDMON_FILES}/yolov3.weights",
                    "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297", 248_007_048)),
        Published(57.9, 33.0, "COCO test-dev", "arXiv:1804.02767, table 3"),
    ),
    ZooModel(
        "yolov3-spp", "YOLOv3", 608, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON}/yolov3-spp.cfg",
                    "7a4ec2d7427340fb12059f2b0ef76d6fcfcac132cc287cbbf0be5e3abaa856fd", 8_606),
         RemoteFile(f"{_REDMON_FILES}/yolov3-spp.weights",
                    "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4", 252_209_544)),
        Published(60.6, None, "COCO test-dev", "pjreddie.com/darknet/yolo"),
    ),
    ZooModel(
        "yolov3-tiny", "YOLOv3", 416, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_REDMON}/yolov3-tiny.cfg",
                    "84eb7a675ef87c906019ff5a6e0effe275d175adb75100dcb47f0727917dc2c7", 1_915),
         RemoteFile(f"{_REDMON_FILES}/yolov3-tiny.weights",
                    "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c", 35_434_956)),
        Published(33.1, None, "COCO test-dev", "pjreddie.com/darknet/yolo"),
    ),
    ZooModel(
        "yolov4", "YOLOv4", 608, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_ALEXEY}/yolov4.cfg",
                    "a6d0f8e5c62cc8378384f75a8159b95fa2964d4162e33351b00ac82e0fc46a34", 12_231),
         RemoteFile(f"{_ALEXEY_FILES}/darknet_yolo_v3_optimal/yolov4.weights",
                    "e8a4f6c62188738d86dc6898d82724ec0964d0eb9d2ae0f0a9d53d65d108d562", 257_717_640)),
        Published(65.7, 43.5, "COCO test-dev", "arXiv:2004.10934, abstract"),
    ),
    ZooModel(
        "yolov4-tiny", "YOLOv4", 416, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_ALEXEY}/yolov4-tiny.cfg",
                    "f858e3724962eedf3ac44e3b6cb3f0c3d9ed067c306bb831f539c578b924c90e", 3_231),
         # Digest: many sources since 2021; one of 2020 has 037676f0… for this address.
         RemoteFile(f"{_ALEXEY_FILES}/darknet_yolo_v4_pre/yolov4-tiny.weights",
                    "cf9fbfd0f6d4869b35762f56100f50ed05268084078805f0e7989efe5bb8ca87", 24_251_276)),
        Published(40.2, None, "COCO test-dev", "github.com/AlexeyAB/darknet, README"),
    ),
    ZooModel(
        "yolo-fastest-1.1", "Yolo-Fastest", 320, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_FASTEST_11}/yolo-fastest-1.1.cfg",
                    "f6df5775c1e862998cf69046eba9265be3ae84dfe8b2caab7529823f0795bf70", 9_685),
         RemoteFile(f"{_FASTEST_11}/yolo-fastest-1.1.weights",
                    "1c445c42bbd6df63edea2cc69f99667b5650d663ca11e34b116240740cd42890", 1_384_268)),
        Published(24.40, None, "COCO val2017", "github.com/dog-qiuqiu/Yolo-Fastest, mAP_log.txt"),
    ),
    ZooModel(
        "yolo-fastest-1.1-xl", "Yolo-Fastest", 320, COCO, _PUBLIC_DOMAIN,
        (RemoteFile(f"{_FASTEST_XL}/yolo-fastest-1.1-xl.cfg",
                    "c458427acc4fbeabceff4528ef7b65b066c0308ce599460f8ba299eba63abad3", 9_696),
         RemoteFile(f"{_FASTEST_XL}/yolo-fastest-1.1-xl.weights",
                    "fac5fb41786c1f38f04972a658443b189f48720d7d117f9a044100e98a35b0c5", 3_693_964)),
        Published(34.33, None, "COCO val2017", "github.com/dog-qiuqiu/Yolo-Fastest, xl-mAP_log.txt"),
    ),
    ZooModel(
        "mobilenetv2-yolov3-nano", "MobileNet-YOLO", 320, COCO, _UNSTATED,
        (RemoteFile(f"{_NANO_CFG}/MobileNetV2-YOLOv3-Nano-coco.cfg",
                    "f9c93b9167275c94975984c8b1d8adbff990f2e3a983adc79d02e748d6ed763b", 7_000),
         RemoteFile(f"{_NANO_WEIGHTS}/MobileNetV2-YOLOv3-Nano-coco.weights",
                    "60a6c2a86735fd39ff54d61f9a16f3ac3fe24a8b2e0d7740585bf2b54a5db81a", 3_564_300)),
        # The log counts 4476 pictures and no object of the six classes that Darknet spells unlike COCO.
        Published(30.13, None, "a part of COCO val", "github.com/dog-qiuqiu/MobileNet-Yolo, COCOmAP"),
    ),
    ZooModel(
        "mobilenet_v1_0.25_128", "MobileNetV1", 128, _IMAGENET, _APACHE,
        (RemoteFile(f"{_CORAL}/mobilenet_v1_0.25_128_quant.tflite",
                    "cb273c23ee76374b05b9583177e28aa19744858a7679c56a250e83d0333da785", 525_598),),
        PublishedTop(39.5, 64.4, "ImageNet val", _SLIM), "classify",
    ),
    ZooModel(
        "mobilenet_v1_0.5_160", "MobileNetV1", 160, _IMAGENET, _APACHE,
        (RemoteFile(f"{_CORAL}/mobilenet_v1_0.5_160_quant.tflite",
                    "3cc6d2ca460abd2e0f699a6d0d2550c6b61c6e3b0e27a3616e384ea74cb86f43", 1_392_846),),
        PublishedTop(57.7, 80.4, "ImageNet val", _SLIM), "classify",
    ),
    ZooModel(
        "mobilenet_v1_0.75_192", "MobileNetV1", 192, _IMAGENET, _APACHE,
        (RemoteFile(f"{_CORAL}/mobilenet_v1_0.75_192_quant.tflite",
                    "41daeb22fdcf947e0e5ec32373aa9df7c31f3ef45dbd0ef7b5940fbce3c20f6a", 2_652_542),),
        PublishedTop(66.1, 86.4, "ImageNet val", _SLIM), "classify",
    ),
    ZooModel(
        "mobilenet_v2_1.0_224", "MobileNetV2", 224, _IMAGENET, _APACHE,
        (RemoteFile(f"{_CORAL}/mobilenet_v2_1.0_224_quant.tflite",
                    "7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776", 3_610_798),),
        PublishedTop(70.8, 89.9, "ImageNet val", "tensorflow.org/lite/guide/hosted_models"), "classify",
    ),
)
# fmt: on

CATALOGUE = {model.name: model for model in _MODELS}

# Model files that come with onelook, by name; beside each lies its card.
EMBEDDED = {"helmets": Path(__file__).with_name("helmets.onnx")}


def find(name: str) -> ZooModel:
    """The model of this name, upper or lower case.

    Raises:
        ZooError: there is none to be downloaded; the message lists the closest names of all that can be loaded.
    """
    if model := CATALOGUE.get(name.lower()):
        return model
    if name.lower() in EMBEDDED:
        raise ZooError(f"{name.lower()} comes with onelook and is not downloaded; see 'onelook info {name.lower()}'")
    name, known = name[:64], [*EMBEDDED, *CATALOGUE]  # what follows takes time and room that grow with its length
    close = difflib.get_close_matches(name.lower(), known, cutoff=0.5)
    raise ZooError(
        f"no model named {name!r} in the zoo; {'closest' if close else 'known'}: {', '.join(close or known)}"
    )
