"""The end of every detector's graph: the best candidates, per-class suppression, the two thresholds.

Greedy suppression keeps a detection if no better one of its class that is kept overlaps it. With `S[i, j]` = 1 where
j is better than i, of the same class and overlaps it, that is the one solution of `keep = (S keep == 0)`, since S is
triangular. It is found by iteration from `keep` = 1: after n steps all are right whose chain of rivals has fewer than n
links. Odd steps keep too few and even ones too many, so two steps that agree are the solution.
"""

import onnx
import onnx.parser

CANDIDATES = 1000  # (box, class) pairs a picture that enter suppression, best first

# What must exceed iou_threshold for a detection to be suppressed.
_IOU = """
    overlap = Div(intersection, union)
"""

# IoU less a penalty for distant centres: DIoU-NMS of Zheng et al., 2020 (arXiv:1911.08287, section 3.3).
_DIOU = """
    iou = Div(intersection, union)
    side_i = Unsqueeze(side, last)
    side_j = Unsqueeze(side, second)
    side_sum = Add(side_i, side_j)
    hull = Sub(side_sum, common)
    bare_diagonal = ReduceSumSquare<keepdims = 0>(hull, first)
    diagonal = Max(bare_diagonal, tiny)
    sum = Add(minimum, maximum)
    centre = Mul(sum, half)
    centre_i = Unsqueeze(centre, last)
    centre_j = Unsqueeze(centre, second)
    apart = Sub(centre_i, centre_j)
    distance = ReduceSumSquare<keepdims = 0>(apart, first)
    ratio = Div(distance, diagonal)
    penalty = Pow(ratio, beta)
    overlap = Sub(iou, penalty)
"""

# The best detections of each picture.
_CUT = """
    most = Constant<value_int = {most}>()
    detected_int = Cast<to = 7>(detected)
    rank = CumSum(detected_int, one)
    first_ranks = LessOrEqual(rank, most)
    best_detected = And(detected, first_ranks)
"""

# The boxes and scores of all candidates, and the extent of the pictures within the input (w, h, w, h) -> the D
# detections of all pictures, picture by picture, best first.
_GRAPH = """
<ir_version: 10, opset_import: ["": 20]>
suppression (
    float[B, N, 4] all_boxes, float[B, N, C] all_scores, float[B, 4] extent,
    float score_threshold, float iou_threshold
) => (float[D, 4] boxes, float[D] scores, int64[D] classes, int64[D] batch_index)
<
    int64[1] last = {{-1}}, int64[1] first = {{1}}, int64[1] second = {{2}}, int64 one = {{1}},
    int64 limit = {{{candidates}}}, int64[2] halves = {{2, 2}}, int64[2] flat = {{0, -1}}, int64 column = {{0}},
    float zero = {{0}}, float unit = {{1}}, float half = {{0.5}}, float tiny = {{1e-20}}, float beta = {{{beta}}}
>
{{
    # The boxes whose best class passes; as many a picture as the fullest picture has, so that a batch stays a tensor.
    best = ReduceMax<keepdims = 0>(all_scores, last)
    passes = Greater(best, score_threshold)
    passes_int = Cast<to = 7>(passes)
    passing = ReduceSum<keepdims = 0>(passes_int, last)
    fullest = ReduceMax(passing)
    box_count = Clip(fullest, one, limit)
    _, box_index = TopK(best, box_count)
    box_rows = Unsqueeze(box_index, last)
    passing_scores = GatherND<batch_dims = 1>(all_scores, box_rows)

    # Of those, the (box, class) pairs that pass, best first.
    pair_all = Reshape(passing_scores, flat)
    pair_passes = Greater(pair_all, score_threshold)
    pair_passes_int = Cast<to = 7>(pair_passes)
    pair_passing = ReduceSum<keepdims = 0>(pair_passes_int, last)
    pair_fullest = ReduceMax(pair_passing)
    pair_count = Clip(pair_fullest, one, limit)
    pair_scores, pair_index = TopK(pair_all, pair_count)
    score_shape = Shape(all_scores)
    class_count = Gather(score_shape, second)
    pair_box = Div(pair_index, class_count)
    pair_class = Mod(pair_index, class_count)
    pair_rows = Unsqueeze(pair_box, last)
    pair_box_rows = GatherND<batch_dims = 1>(box_rows, pair_rows)
    pair_boxes = GatherND<batch_dims = 1>(all_boxes, pair_box_rows)

    # Their overlap with each other, of boxes relative to the picture: [B, P, P], from x and y: [B, 2, P, P].
    extent_row = Unsqueeze(extent, first)
    relative = Div(pair_boxes, extent_row)
    coordinates = Transpose<perm = [0, 2, 1]>(relative)
    minimum, maximum = Split<axis = 1>(coordinates, halves)
    min_i = Unsqueeze(minimum, last)
    max_i = Unsqueeze(maximum, last)
    min_j = Unsqueeze(minimum, second)
    max_j = Unsqueeze(maximum, second)
    side = Sub(maximum, minimum)
    positive_side = Relu(side)
    area = ReduceProd<keepdims = 0>(positive_side, first)
    area_i = Unsqueeze(area, last)
    area_j = Unsqueeze(area, first)
    common_min = Max(min_i, min_j)
    common_max = Min(max_i, max_j)
    common = Sub(common_max, common_min)
    positive_common = Relu(common)
    intersection = ReduceProd<keepdims = 0>(positive_common, first)
    area_sum = Add(area_i, area_j)
    bare_union = Sub(area_sum, intersection)
    union = Max(bare_union, tiny)
    {overlap}

    class_i = Unsqueeze(pair_class, last)
    class_j = Unsqueeze(pair_class, first)
    same_class = Equal(class_i, class_j)
    overlaps = Greater(overlap, iou_threshold)
    rivals = And(same_class, overlaps)
    rivals_float = Cast<to = 1>(rivals)
    below = Constant<value_int = -1>()
    suppresses = Trilu<upper = 0>(rivals_float, below)

    # keep = (suppresses keep == 0), two steps as they are, and then two a turn of a loop until they agree. It is always
    # entered: where its condition is false from the start, OpenVINO before 2026.4 gives whatever is in its memory.
    hits_1 = ReduceSum(suppresses, last)
    bare_1 = Sub(unit, hits_1)
    keep_1 = Relu(bare_1)
    hits_2 = MatMul(suppresses, keep_1)
    bare_2 = Sub(unit, hits_2)
    keep_2 = Relu(bare_2)
    once_more = GreaterOrEqual(unit, zero)
    kept = Loop(pair_count, once_more, keep_2) <body = settle (int64 turn, bool unused, float[B, P, 1] keep)
        => (bool again, float[B, P, 1] next)
    {{
        hits = MatMul(suppresses, keep)
        bare = Sub(unit, hits)
        fewest = Relu(bare)
        next_hits = MatMul(suppresses, fewest)
        next_bare = Sub(unit, next_hits)
        next = Relu(next_bare)
        change = Sub(next, fewest)
        most_change = ReduceMax<keepdims = 0>(change)
        again = Greater(most_change, zero)
    }}>

    kept_row = Squeeze(kept, last)
    kept_scores = Mul(pair_scores, kept_row)
    detected = Greater(kept_scores, score_threshold)
    {cut}
    found = NonZero({left})
    rows = Transpose(found)
    boxes = GatherND(pair_boxes, rows)
    scores = GatherND(pair_scores, rows)
    classes = GatherND(pair_class, rows)
    batch_index = Gather(found, column)
}}
"""


def suppression(diou_beta: float | None = None, most: int | None = None) -> onnx.ModelProto:
    """The graph as a model of its own, to be joined to one that gives `all_boxes`, `all_scores` and `extent`.

    Args:
        diou_beta: the power of the penalty of DIoU-NMS; None takes the plain IoU.
        most: detections of a picture, the best ones; all that are kept by default.
    """
    overlap = _IOU if diou_beta is None else _DIOU
    cut, left = ("", "detected") if most is None else (_CUT.format(most=most), "best_detected")
    graph = _GRAPH.format(candidates=CANDIDATES, overlap=overlap, beta=float(diou_beta or 1), cut=cut, left=left)
    return onnx.parser.parse_model(graph)
