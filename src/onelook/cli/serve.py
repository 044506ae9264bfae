"""onelook serve."""

import os
from pathlib import Path

import click

from onelook.cli.run import path_type
from onelook.errors import Error, MissingDependencyError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.argument("models", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all of them.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--keys", "keys_file", type=path_type, help="File of API keys, one a line; or ONELOOK_API_KEYS, by commas."
)
@click.option(
    "--no-key", is_flag=True, help="Serve all who can reach it, under any name of this computer, without a key."
)
@click.option("--origin", multiple=True, help="A web page's origin that may call the API; repeat for more.")
@click.option("--allow-urls", is_flag=True, help="Clients may name pictures by URL; the server then fetches them.")
@click.option("--folder", type=path_type, help="Of model files that clients may load and unload.")
@click.option("--engine", default="auto", show_default=True, help="auto, onnxruntime or openvino.")
@click.option("--precision", default="float32", show_default=True, help="float32, or fastest (OpenVINO: bfloat16).")
@click.option("--threads", type=int, help="Of the processor; all of them by default.")
@click.option("--batch", type=int, help="Most pictures of one run, of all clients; 8 on a GPU, 1 on a CPU by default.")
@click.option("--wait", type=float, default=0.0, show_default=True, help="Seconds a run waits to become full.")
@click.option("--queue", type=int, default=128, show_default=True, help="Pictures that may wait; beyond them 429.")
@click.option("--deadline", type=float, default=30.0, show_default=True, help="Seconds to answer a request in.")
@click.option("--max-bytes", type=int, default=32 << 20, show_default=True, help="Of a request.")
@click.option("--max-memory", type=int, default=1 << 30, show_default=True, help="Bytes of all requests; beyond 429.")
@click.option("--max-pixels", type=int, default=64_000_000, show_default=True, help="Of a picture.")
@click.option("--max-files", type=int, default=16, show_default=True, help="Of a request.")
@click.option("--max-requests", type=int, default=1000, show_default=True, help="At a time; beyond them 503.")
def serve(
    models: tuple[str, ...],
    host: str,
    port: int,
    keys_file: Path | None,
    no_key: bool,
    origin: tuple[str, ...],
    allow_urls: bool,
    folder: Path | None,
    engine: str,
    precision: str,
    threads: int | None,
    batch: int | None,
    wait: float,
    queue: int,
    deadline: float,
    max_bytes: int,
    max_memory: int,
    max_pixels: int,
    max_files: int,
    max_requests: int,
) -> int:
    """Serve models over HTTP, with a web page.

    MODELS are model files or names that 'onelook models' lists, each as it is or NAME=MODEL.
    """
    # OpenCV reads it when it is loaded; it refuses a larger picture of any format from its header alone.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(max_pixels)
    try:
        from onelook.serve.app import create_app
        from onelook.serve.run import run
        from onelook.serve.settings import Settings
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'{error.name} is not installed; pip install "onelook[serve]"') from None

    keys = _keys(keys_file)
    if host not in LOOPBACK and not keys and not no_key:
        raise Error(f"{host} can be reached from other computers: give --keys FILE, or --no-key if all may use it")
    settings = Settings(
        _named(models) if models else Settings().models,
        engine=engine,
        precision=precision,
        threads=threads,
        batch=batch,
        wait=wait,
        queue=queue,
        deadline=deadline,
        max_bytes=max_bytes,
        max_memory=max_memory,
        max_pixels=max_pixels,
        max_files=max_files,
        max_requests=max_requests,
        keys=keys,
        hosts=() if keys or no_key else LOOPBACK,
        origins=origin,
        allow_urls=allow_urls,
        folder=folder,
    )
    run(create_app(settings), host, port, deadline)
    return 0


def _named(models: tuple[str, ...]) -> dict[str, str]:
    """NAME=MODEL, or a model whose name is that of its file, where "=" may be a part of a path."""
    found: dict[str, str] = {}
    for model in models:
        name, equals, source = model.partition("=")
        if not equals or os.path.exists(model) or not name or "/" in name or os.sep in name:
            name, source = Path(model).stem if model.endswith(".onnx") else Path(model).name, model
        if name in found:
            raise Error(f"two models are called {name!r}; give one another name: NAME={source}")
        found[name] = source
    return found


def _keys(file: Path | None) -> tuple[str, ...]:
    if file is None:
        words = os.environ.get("ONELOOK_API_KEYS", "").split(",")
    else:
        try:
            words = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Error(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    keys = tuple(word.strip() for word in words if word.strip())
    if file is not None and not keys:
        raise Error(f"{file}: has no key; write one a line")
    return keys
