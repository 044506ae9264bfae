"""The end of every detector's graph: the best candidates, per-class suppression, the two thresholds.

Greedy suppression keeps a detection if no better one of its class that is kept overlaps it. With `S[i, j]` = 1 where
j is better than i, of the same class and overlaps it, that is the one solution of `keep = (S keep == 0)`, since S is
triangular. It is found by iteration: after n steps all are right whose chain of rivals has fewer than n links.
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
    hull_min = Min(min_i, min_j)
    hull_max = Max(max_i, max_j)
    hull = Sub(hull_max, hull_min)
    hull_squared = Mul(hull, hull)
    bare_diagonal = ReduceSum<keepdims = 0>(hull_squared, last)
    diagonal = Max(bare_diagonal, tiny)
    sum_i = Add(min_i, max_i)
    sum_j = Add(min_j, max_j)
    apart = Sub(sum_i, sum_j)
    apart_squared = Mul(apart, apart)
    twice_distance = ReduceSum<keepdims = 0>(apart_squared, last)
    quarter = Constant<value_float = 0.25>()
    distance = Mul(twice_distance, quarter)
    ratio = Div(distance, diagonal)
    power = Constant<value_float = {beta}>()
    penalty = Pow(ratio, power)
    overlap = Sub(iou, penalty)
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
    int64[1] last = {{-1}}, int64[1] first = {{1}}, int64[1] second = {{2}}, int64[1] one = {{1}},
    int64[1] limit = {{{candidates}}}, int64[2] halves = {{2, 2}}, int64[2] flat = {{0, -1}},
    float zero = {{0}}, float tiny = {{1e-20}}
>
{{
    # The boxes whose best class passes; as many a picture as the fullest picture has, so that a batch stays a tensor.
    best = ReduceMax<keepdims = 0>(all_scores, last)
    passes = Greater(best, score_threshold)
    passes_int = Cast<to = 7>(passes)
    passing = ReduceSum<keepdims = 0>(passes_int, last)
    fullest = ReduceMax(passing)
    box_limit = Min(fullest, limit)
    box_count = Max(box_limit, one)
    _, box_index = TopK(best, box_count)
    box_rows = Unsqueeze(box_index, last)
    passing_scores = GatherND<batch_dims = 1>(all_scores, box_rows)

    # Of those, the (box, class) pairs that pass, best first.
    pair_all = Reshape(passing_scores, flat)
    pair_passes = Greater(pair_all, score_threshold)
    pair_passes_int = Cast<to = 7>(pair_passes)
    pair_passing = ReduceSum<keepdims = 0>(pair_passes_int, last)
    pair_fullest = ReduceMax(pair_passing)
    pair_limit = Min(pair_fullest, limit)
    pair_count = Max(pair_limit, one)
    pair_scores, pair_index = TopK(pair_all, pair_count)
    score_shape = Shape(all_scores)
    class_count = Gather(score_shape, second)
    pair_box = Div(pair_index, class_count)
    pair_class = Mod(pair_index, class_count)
    pair_rows = Unsqueeze(pair_box, last)
    pair_box_rows = GatherND<batch_dims = 1>(box_rows, pair_rows)
    pair_boxes = GatherND<batch_dims = 1>(all_boxes, pair_box_rows)

    # Their overlap with each other, of boxes relative to the picture: [B, P, P].
    extent_row = Unsqueeze(extent, first)
    relative = Div(pair_boxes, extent_row)
    minimum, maximum = Split<axis = -1>(relative, halves)
    min_i = Unsqueeze(minimum, second)
    max_i = Unsqueeze(maximum, second)
    min_j = Unsqueeze(minimum, first)
    max_j = Unsqueeze(maximum, first)
    side = Sub(maximum, minimum)
    positive_side = Relu(side)
    area = ReduceProd<keepdims = 0>(positive_side, last)
    area_i = Unsqueeze(area, second)
    area_j = Unsqueeze(area, first)
    common_min = Max(min_i, min_j)
    common_max = Min(max_i, max_j)
    common = Sub(common_max, common_min)
    positive_common = Relu(common)
    intersection = ReduceProd<keepdims = 0>(positive_common, last)
    area_sum = Add(area_i, area_j)
    bare_union = Sub(area_sum, intersection)
    union = Max(bare_union, tiny)
    {overlap}

    class_i = Unsqueeze(pair_class, second)
    class_j = Unsqueeze(pair_class, first)
    same_class = Equal(class_i, class_j)
    overlaps = Greater(overlap, iou_threshold)
    rivals = And(same_class, overlaps)
    rivals_float = Cast<to = 1>(rivals)
    below = Constant<value_int = -1>()
    suppresses = Trilu<upper = 0>(rivals_float, below)

    # keep = (suppresses keep == 0), two steps a turn.
    go = Constant<value = bool {{1}}>()
    score_column = Unsqueeze(pair_scores, last)
    all_kept = GreaterOrEqual(score_column, zero)
    all_kept_float = Cast<to = 1>(all_kept)
    kept = Loop(pair_count, go, all_kept_float) <body = settle (int64 turn, bool unused, float[B, P, 1] keep)
        => (bool again, float[B, P, 1] next)
    {{
        hits = MatMul(suppresses, keep)
        free = LessOrEqual(hits, zero)
        halfway = Cast<to = 1>(free)
        next_hits = MatMul(suppresses, halfway)
        next_free = LessOrEqual(next_hits, zero)
        next = Cast<to = 1>(next_free)
        change = Sub(next, halfway)
        size = ReduceMax<keepdims = 0>(change)
        smallest = ReduceMin<keepdims = 0>(change)
        again = Greater(size, smallest)
    }}>

    kept_scores = Mul(score_column, kept)
    score_row = Squeeze(kept_scores, last)
    detected = Greater(score_row, score_threshold)
    found = NonZero(detected)
    rows = Transpose(found)
    boxes = GatherND(pair_boxes, rows)
    scores = GatherND(pair_scores, rows)
    classes = GatherND(pair_class, rows)
    zero_index = Constant<value_int = 0>()
    batch_index = Gather<axis = 0>(found, zero_index)
}}
"""


def suppression(diou_beta: float | None = None) -> onnx.ModelProto:
    """The graph as a model of its own, to be joined to one that gives `all_boxes`, `all_scores` and `extent`.

    Args:
        diou_beta: the power of the penalty of DIoU-NMS; None takes the plain IoU.
    """
    overlap = _IOU if diou_beta is None else _DIOU.format(beta=float(diou_beta))
    return onnx.parser.parse_model(_GRAPH.format(candidates=CANDIDATES, overlap=overlap))
