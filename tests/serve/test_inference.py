"""The Open Inference Protocol against the model file's own session, in JSON and in bytes."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from onelook.runtime.session import open_session
from onelook.serve import inference
from onelook.serve.inference import MAX_JSON
from onelook.serve.uploads import BRIEF
from serve_client import Client

DTYPES = {"FP32": np.float32, "INT64": np.int64, "UINT8": np.uint8}
LENGTH = "Inference-Header-Content-Length"


def pictures(client: Client, model: str, count: int = 2) -> Any:
    """Random pictures of a model's size, uint8 [B, H, W, 3]."""
    image = client.get(f"/v2/models/{model}").json()["inputs"][0]
    height, width = image["shape"][1:3]
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), np.uint8)


def tensor(name: str, values: Any, datatype: str) -> dict[str, Any]:
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": values.reshape(-1).tolist()}


def expected(path: str, *feed: Any) -> dict[str, Any]:
    session = open_session(path)
    return dict(zip(session.info.outputs, session.run(*feed), strict=True))


def read(answer: Any) -> dict[str, Any]:
    """The tensors of an answer."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get(LENGTH, len(answer.content)))
    rest, found = answer.content[length:], {}
    for output in json.loads(answer.content[:length])["outputs"]:
        dtype = DTYPES[output["datatype"]]
        if "data" in output:
            values = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            values, rest = np.frombuffer(rest[:size], dtype), rest[size:]
        found[output["name"]] = values.reshape(output["shape"])
    assert not rest
    return found


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("model", ["boxes", "labels", "pixels", "objects"])
def test_json_and_bytes_give_what_the_session_gives(client: Client, model_paths: dict[str, str], model: str) -> None:
    images = pictures(client, model)
    detects = model in ("boxes", "objects")
    thresholds = (0.3, 0.6) if detects else ()
    wanted = expected(model_paths[model], images, *thresholds)
    own = [
        tensor(name, np.array(value), "FP32")
        for name, value in zip(("score_threshold", "iou_threshold"), thresholds, strict=False)
    ]
    in_json = {"id": "7", "inputs": [tensor("image", images, "UINT8"), *own]}
    answer = client.post(f"/v2/models/{model}/infer", json=in_json)
    same(read(answer), wanted)
    assert (answer.json()["id"], answer.json()["model_name"]) == ("7", model)

    image = {"name": "image", "shape": list(images.shape), "datatype": "UINT8"}
    image["parameters"] = {"binary_data_size": images.nbytes}
    head = json.dumps({"inputs": [*own, image], "parameters": {"binary_data_output": True}}).encode()
    answer = client.post(f"/v2/models/{model}/infer", content=head + images.tobytes(), headers={LENGTH: str(len(head))})
    assert int(answer.headers[LENGTH]) < len(answer.content)
    same(read(answer), wanted)


def test_thresholds_may_be_left_out_and_outputs_chosen(client: Client, model_paths: dict[str, str]) -> None:
    images = pictures(client, "boxes", 1)
    info = open_session(model_paths["boxes"]).info
    wanted = expected(model_paths["boxes"], images, info.score_threshold, info.iou_threshold)
    request = {
        "inputs": [tensor("image", images, "UINT8")],
        "outputs": [{"name": "scores"}, {"name": "boxes", "parameters": {"binary_data": True}}],
    }
    found = read(client.post("/v2/models/boxes/infer", json=request))
    assert list(found) == ["scores", "boxes"]
    np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=1e-3)


def test_what_models_say_of_themselves(client: Client) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/boxes/ready").json() == {"name": "boxes", "ready": True}
    described = client.get("/v2/models/objects").json()
    assert [one["name"] for one in described["inputs"]] == ["image", "score_threshold", "iou_threshold"]
    assert [one["name"] for one in described["outputs"]] == ["boxes", "scores", "classes", "batch_index", "masks"]
    (version,) = described["versions"]
    at = f"/v2/models/objects/versions/{version}"
    assert client.get(at).json() == described
    assert client.get(f"{at}/ready").json() == {"name": "objects", "ready": True}
    body = {"inputs": [tensor("image", pictures(client, "objects", 1), "UINT8")]}
    assert client.post(f"{at}/infer", json=body).json() == client.post("/v2/models/objects/infer", json=body).json()
    assert set(client.get("/v2/models/objects/versions/2").json()) == {"error"}
    missing = client.get("/v2/models/none")
    assert missing.status_code == 404
    assert set(missing.json()) == {"error"}


IMAGE = {"name": "image", "shape": [1, 64, 96, 3], "datatype": "UINT8"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "Protocol"),
        (b"[]", "Protocol"),
        (b"{}", "inputs"),
        (b"[" * 100_000, "Protocol"),
        ({"inputs": []}, "missing"),
        ({"inputs": [None]}, "Protocol"),
        ({"inputs": [{"name": "x"}]}, "no input"),
        ({"inputs": [{"name": []}]}, "Protocol"),
        ({"inputs": [IMAGE]}, "data"),
        ({"inputs": [IMAGE | {"datatype": "FP32", "data": []}]}, "UINT8"),
        ({"inputs": [IMAGE | {"data": [1, 2, 3]}]}, "3 numbers"),
        ({"inputs": [IMAGE | {"data": ["x"]}]}, "Protocol"),
        ({"inputs": [IMAGE | {"data": [10**400]}]}, "Protocol"),
        ({"inputs": [IMAGE | {"shape": [1, 1, 1, 3], "data": [1, 2, 256]}]}, "0 to 255"),
        ({"inputs": [IMAGE | {"shape": [1, 1, 1, 3], "data": [1, 2, 0.5]}]}, "0 to 255"),
        ({"inputs": [IMAGE | {"shape": [1, 1, 1, 3], "data": [1, 2, 3]}]}, "must be"),
        ({"inputs": [IMAGE | {"shape": [3], "data": [1, 2, 3]}]}, "must be"),
        ({"inputs": [IMAGE | {"shape": [0, 64, 96, 3], "data": []}]}, "must be"),
        ({"inputs": [IMAGE | {"shape": [-1], "data": []}]}, "shape"),
        ({"inputs": [IMAGE | {"shape": [2**62, 2**62], "data": []}]}, "0 numbers"),
        ({"inputs": [IMAGE | {"shape": "x", "data": []}]}, "shape"),
        ({"inputs": [IMAGE | {"parameters": {"binary_data_size": 10}}]}, "10 bytes"),
        ({"inputs": [IMAGE | {"parameters": {"binary_data_size": "x"}}]}, "bytes"),
        ({"inputs": [IMAGE | {"parameters": 3}]}, "Protocol"),
    ],
)
def test_nonsense_is_refused_in_one_line(client: Client, body: Any, word: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/v2/models/boxes/infer", content=content)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1000000", "9" * 400])
def test_a_length_that_is_none_is_refused(client: Client, length: str) -> None:
    answer = client.post("/v2/models/boxes/infer", content=b"{}", headers={LENGTH: length})
    assert answer.status_code == 400


def test_outputs_and_thresholds_that_there_are_not(client: Client) -> None:
    inputs = [tensor("image", pictures(client, "boxes", 1), "UINT8")]
    for outputs in ([{"name": "x"}], [{}], [3], {"a": 1}, "x", [{"name": "boxes"}] * 2):
        answer = client.post("/v2/models/boxes/infer", json={"inputs": inputs, "outputs": outputs})
        assert answer.status_code == 400, outputs
    for values in ([2.0], [-1.0], [1e300], [], [0.1, 0.2]):
        wrong = [*inputs, tensor("score_threshold", np.array(values), "FP32")]
        answer = client.post("/v2/models/boxes/infer", json={"inputs": wrong})
        assert answer.status_code == 400, values
        assert "'score_threshold' must be one number from 0 to 1" in answer.json()["error"]


def test_much_json_is_refused_and_as_many_bytes_are_not(client: Client) -> None:
    large = json.dumps({"inputs": [], "more": [0] * (MAX_JSON // 3)}).encode()
    answer = client.post("/v2/models/boxes/infer", content=large)
    assert answer.status_code == 413
    assert "binary_tensor_data" in answer.json()["error"]
    largest = {"inputs": [tensor("image", np.full((1, 640, 640, 3), 255, np.uint8), "UINT8")]}
    assert len(json.dumps(largest)) < MAX_JSON
    images = pictures(client, "boxes", 1 + MAX_JSON // pictures(client, "boxes", 1).nbytes)
    image = {"name": "image", "shape": list(images.shape), "datatype": "UINT8"}
    head = json.dumps({"inputs": [image | {"parameters": {"binary_data_size": images.nbytes}}]}).encode()
    answer = client.post("/v2/models/boxes/infer", content=head + images.tobytes(), headers={LENGTH: str(len(head))})
    assert answer.status_code == 200


def test_an_output_of_many_numbers_is_given_in_binary_alone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MAX_NUMBERS", 1000)
    inputs = [tensor("image", pictures(client, "pixels", 1), "UINT8")]
    refused = client.post("/v2/models/pixels/infer", json={"inputs": inputs})
    assert refused.status_code == 400
    assert "binary_tensor_data" in refused.json()["error"]
    binary = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    assert client.post("/v2/models/pixels/infer", json=binary).status_code == 200


def test_much_json_is_read_one_request_at_a_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0
    read = inference._read

    def slowly(*arguments: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.02)
        try:
            return read(*arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(inference, "_read", slowly)
    body: dict[str, Any] = {"inputs": [tensor("image", pictures(client, "boxes", 1), "UINT8")]}
    body["id"] = "x" * BRIEF
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/v2/models/boxes/infer", json=body), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert most == 1


def test_little_json_waits_for_nobody(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    together, read = threading.Barrier(2, timeout=20), inference._read

    def both(*arguments: Any) -> Any:
        together.wait()
        return read(*arguments)

    monkeypatch.setattr(inference, "_read", both)
    body = {"inputs": [tensor("image", pictures(client, "boxes", 1), "UINT8")]}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: client.post("/v2/models/boxes/infer", json=body), range(2)))
    assert [answer.status_code for answer in answers] == [200] * 2
