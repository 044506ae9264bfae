#!/bin/sh
# The model that comes with onelook: MobileNetV2-YOLOv3 for helmets and heads. src/onelook/zoo/helmets.md is its card.
#
# sh examples/train_helmets.sh HELMETS WEIGHTS
#   HELMETS  the photographs, in the format of PASCAL VOC: 1400 to train on, 300 to measure on
#   WEIGHTS  mobilenet_v2_1.0_224_quant.tflite ('onelook info mobilenet_v2_1.0_224' brings it into the cache)
set -eu
run=runs/helmets
if [ -e "$run/last.safetensors" ]; then
    onelook train --resume "$run"
else
    onelook train "$1" --backbone mobilenet_v2 --weights "$2" \
        --size 320 --epochs 16 --batch 16 --precision bfloat16 --output "$run"
fi
onelook convert "$run/best.safetensors" --half --output "$run/helmets.onnx"
onelook evaluate "$run/helmets.onnx" "$1" --metric coco --save-threshold --output "$run/evaluation"
