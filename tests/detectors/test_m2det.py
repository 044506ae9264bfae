"""M2Det against the paper's maps, priors and table of parameters; its modules against their composition written out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import naive
from exported import finds_the_same
from onelook import NetworkError
from onelook.backbones import VGG16, create, vgg
from onelook.detectors.m2det import M2Det
from onelook.detectors.ssd import SsdLoss
from onelook.nn.count import numbers
from onelook.nn.tum import ThinnedU

SIZE = (288, 320)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def meta(name: str = "vgg16", classes: int = 80, **options: Any) -> M2Det:
    with torch.device("meta"):
        return M2Det(create(name, classes=0), classes, **options)


def small(levels: int = 2) -> M2Det:
    torch.manual_seed(0)
    return M2Det(create("mobilenet_v1", alpha=0.25, classes=0), 3, levels=levels, width=16)


@pytest.mark.parametrize("name", ["vgg16", "resnet101", "mobilenet_v2"])
@pytest.mark.parametrize(
    # The strides of the authors' configurations, which are the picture's side over the map's:
    # 8 16 32 64 107 320; 8 16 32 64 128 256; 8 16 32 62 115 160.
    ("size", "sides"),
    [(320, [40, 20, 10, 5, 3, 1]), (512, [64, 32, 16, 8, 4, 2]), (800, [100, 50, 25, 13, 7, 5])],
)
def test_every_size_has_the_papers_maps(name: str, size: int, sides: list[int]) -> None:
    model = meta(name, 7, size=size, levels=2, width=16)
    raw = model(torch.empty(2, 3, size, size, device="meta"))
    assert [tuple(x.shape) for x in raw] == [(2, 6 * k, side, side) for k in (4, 8) for side in sides]
    boxes, scores = model.decode(raw, (size, size))
    count = 6 * sum(side * side for side in sides)
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((2, count, 4), (2, count, 7))


def test_the_smallest_prior_alone_differs_between_the_sizes() -> None:
    shapes = [meta("mobilenet_v1", size=size, levels=1, width=8).priors.shapes for size in (320, 512, 800)]
    assert [own[0][0] for own in shapes] == [(s, s) for s in (0.08, 0.06, 0.04)]
    assert shapes[0][1:] == shapes[1][1:] == shapes[2][1:]
    assert [len(own) for own in shapes[0]] == [6] * 6


@pytest.mark.parametrize(
    # Table 3, VGG-16 at 320 x 320: TUMs, their channels, millions of parameters. It does not say what it counts.
    ("levels", "width", "millions"),
    [(2, 256, 40.1), (4, 256, 60.2), (8, 256, 98.9), (16, 256, 176.8), (8, 128, 47.5)],
)
def test_it_has_nearly_the_papers_number_of_parameters(levels: int, width: int, millions: float) -> None:
    found = numbers(meta(levels=levels, width=width)).parameters / 1e6
    assert found == pytest.approx(millions, rel=0.03)


def test_a_u_is_its_halvings_and_sums() -> None:
    torch.manual_seed(0)
    u = ThinnedU((3, 4), 8, 5).eval()
    u.load_state_dict(naive.random_state(u))
    x = torch.randn(2, 3, 36, 40)

    def up(small: Tensor, like: Tensor) -> Tensor:
        rows = torch.arange(like.shape[2]) * small.shape[2] // like.shape[2]
        columns = torch.arange(like.shape[3]) * small.shape[3] // like.shape[3]
        return small[:, :, rows][:, :, :, columns]

    with torch.no_grad():
        found = u(x)
        a, b, c, d = u.encoder
        e1 = a(x)
        e2, e3 = b(e1), c(b(e1))
        e4 = d(e3)
        s3 = u.lateral[3](e3) + up(e4, e3)
        s2 = u.lateral[2](e2) + up(s3, e2)
        s1 = u.lateral[1](e1) + up(s2, e1)
        s0 = u.lateral[0](x) + up(s1, x)
        for y, smooth, total in zip(found, u.smooth, (s0, s1, s2, s3, e4), strict=True):
            assert total.std() > 0.1
            torch.testing.assert_close(y, smooth(total), rtol=1e-4, atol=1e-5)
    assert [tuple(y.shape) for y in found] == [(2, 4, *s) for s in ((36, 40), (18, 20), (9, 10), (5, 5), (3, 3))]


def test_each_u_has_the_base_feature_and_the_finest_map_of_the_one_before() -> None:
    model = small(3).eval()
    model.load_state_dict(naive.random_state(model))
    image = torch.rand(1, 3, *SIZE)
    us, thins, scales = (naive.inputs_and_outputs(list(m)) for m in (model.tums, model.thin, model.attention))
    with torch.no_grad():
        raw = model(image)
        fine, _, coarse = model.backbone.features((image - 0.5) * 2)
        deep = model.deep(coarse).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        base = torch.cat((model.shallow(fine), deep), dim=1)
        for given, _ in thins:
            torch.testing.assert_close(given, base)
        torch.testing.assert_close(us[0][0], thins[0][1])
        for level in (1, 2):
            torch.testing.assert_close(us[level][0], torch.cat((thins[level][1], us[level - 1][1][0]), dim=1))
        for k, (given, weighed) in enumerate(scales):
            torch.testing.assert_close(given, torch.cat([maps[k] for _, maps in us], dim=1))
            torch.testing.assert_close(raw[k], model.locations[k](weighed))
            torch.testing.assert_close(raw[6 + k], model.confidences[k](weighed))


def test_vgg_gives_conv4_3_and_fc7(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "STAGES", ((4, 4), (8, 8), (8, 8, 8), (12, 12, 12), (16, 16, 16)))
    model = M2Det(VGG16(0), 3, levels=1, width=8).eval()
    shallow, deep = naive.inputs_and_outputs([model.shallow]), naive.inputs_and_outputs([model.deep])
    with torch.no_grad():
        model(torch.rand(1, 3, *SIZE))
    assert shallow[0][0].shape == (1, 12, 36, 40)
    assert deep[0][0].shape == (1, 1024, 18, 20)


def test_what_it_cannot_be_is_said_in_one_line() -> None:
    with pytest.raises(NetworkError, match="size of M2Det must be one of 320, 512, 800; found 300"):
        meta("mobilenet_v1", size=300)
    with pytest.raises(NetworkError, match="scales must be 7 numbers above 0"):
        meta("mobilenet_v1", scales=[0.1, 0.2])
    model = meta("mobilenet_v1", levels=1, width=8)
    with pytest.raises(NetworkError, match="size must be 257 or more here; found 320 x 256"):
        model.check_size((256, 320))
    model.check_size(SIZE)


def test_a_few_steps_lower_the_loss_on_a_picture() -> None:
    model = small(1).train()
    image, labels = torch.rand(2, 3, *SIZE), naive.as_targets([one for one in naive.things(SIZE, 3) if one.picture < 2])
    labels = labels._replace(boxes=labels.boxes.float())
    optimizer, loss, totals = torch.optim.AdamW(model.parameters(), 5e-3), SsdLoss(model.priors), []
    for _ in range(10):
        total = torch.stack(list(loss(model(image), labels, SIZE).values())).sum()
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.85 * totals[0]


def test_it_finds_the_same_as_a_model_file(tmp_path: Path) -> None:
    finds_the_same(small(), SIZE, tmp_path)
