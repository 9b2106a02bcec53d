"""``deepseek-operator weights``: what Jobs and init containers run, and people by hand."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from deepseek_operator.cli.exits import Exit, tell
from deepseek_operator.cli.options import Output
from deepseek_operator.cli.output import write_json, write_yaml
from deepseek_operator.weights.errors import InputError, NoRoomError, WeightsError, storage_error
from deepseek_operator.weights.fetch import DEFAULT_WORKERS, Request
from deepseek_operator.weights.fetch import fetch as fetch_source
from deepseek_operator.weights.progress import GIB, Progress, peak_memory, reporting, say
from deepseek_operator.weights.readahead import read_ahead
from deepseek_operator.weights.stock import kept_below
from deepseek_operator.weights.stock import remove as remove_weights
from deepseek_operator.weights.uri import parse_source
from deepseek_operator.weights.verify import files_of, verify_unmarked
from deepseek_operator.weights.verify import verify as verify_directory
from deepseek_operator.weights.workspace import Marker, read_marker

_CORES: Final = len(os.sched_getaffinity(0))
_MOST_READERS: Final = 16
"""Files read ahead at once: more only make a disk seek."""
_STOPPED: Final = 143
"""As a shell reports a process that SIGTERM ended."""

program = typer.Typer(
    help="Fetch, verify, cast and shard a model's weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

OutputDirectory = Annotated[Path, typer.Option("--output", metavar="DIR", help="Directory to make; it is resumed.")]
InputDirectory = Annotated[Path, typer.Option("--input", metavar="DIR", help="Directory of a checkpoint.")]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Files at once.")]
Format = Annotated[Output, typer.Option("-o", help="How the result is printed on stdout.")]
Every = Annotated[float, typer.Option("--report-every", min=0.1, metavar="SECONDS", help="Between lines of progress.")]
Address = Annotated[
    str | None,
    typer.Option("--progress-address", metavar="HOST:PORT", help="Serve the progress as JSON over HTTP there."),
]


@program.command()
def fetch(
    *,
    source: Annotated[str, typer.Option(metavar="URI", help="hf://, modelscope://, s3:// or file://.")],
    directory: OutputDirectory,
    revision: Annotated[str | None, typer.Option(metavar="R", help="Commit, branch or tag; pin a commit.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the hub's token; else HF_TOKEN and the like.")
    ] = None,
    workers: Workers = DEFAULT_WORKERS,
    report_every: Every = 30.0,
    progress_address: Address = None,
    output: Format = Output.TEXT,
) -> None:
    """Make a directory hold a source's weights: resumed, checked by hash, complete or without a marker."""
    with _outcome() as progress, reporting(progress, every=report_every, address=progress_address):
        result = fetch_source(
            Request(
                source=parse_source(source),
                directory=directory,
                revision=revision or None,
                token=_token(token_file),
                workers=workers,
            ),
            progress,
        )
        about = result.marker.about
        if result.by_size_only:
            say(f"{len(result.by_size_only)} files were checked by size only: {about['source']} publishes no hashes")
        _tell_result(
            result.marker,
            directory,
            output,
            receivedBytes=result.received,
            checkedBySizeOnly=list(result.by_size_only),
        )


@program.command()
def verify(  # noqa: PLR0913 - each option of the command is an argument
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    full: Annotated[bool, typer.Option("--full", help="Hash every byte, too.")] = False,
    unmarked: Annotated[
        bool, typer.Option("--unmarked", help="Weights of one's own without a marker: check index and headers.")
    ] = False,
    named: Annotated[str, typer.Option("--named", metavar="NAME", help="What messages call them.")] = "",
    ahead: Annotated[bool, typer.Option("--read-ahead", help="Read them into the page cache, too.")] = False,
    summary: Annotated[
        Path | None, typer.Option("--summary", metavar="FILE", help="Write what was read and how fast, as JSON.")
    ] = None,
    workers: Workers = _CORES,
    report_every: Every = 30.0,
    progress_address: Address = None,
    output: Format = Output.TEXT,
) -> None:
    """Compare a directory with its marker; exit code 2 and the names of the files when something is wrong."""
    with _outcome() as progress, reporting(progress, every=report_every, address=progress_address):
        if unmarked and read_marker(directory) is None:
            files, problems = verify_unmarked(directory, named=named, progress=progress), False
            say(f"{directory}: index and headers of {len(files)} safetensors files are in order")
        else:
            report = verify_directory(directory, full=full, workers=workers, progress=progress)
            problems = bool(report.findings)
            for finding in report.findings:
                tell(f"error: {finding.path}: {finding.problem}; run weights fetch (or cast) again")
            _tell_result(
                report.marker,
                directory,
                output,
                good=not report.findings,
                hashed=report.hashed,
                problems=[{"path": each.path, "message": each.problem} for each in report.findings],
            )
            files = files_of(directory, report.marker)
        if problems:
            raise typer.Exit(Exit.INPUT_WRONG)
        if ahead:
            _read_ahead(files, workers=min(workers, _MOST_READERS), progress=progress, summary=summary)


def _read_ahead(files: tuple[Path, ...], *, workers: int, progress: Progress, summary: Path | None) -> None:
    done = read_ahead(files, workers=workers, progress=progress)
    rate = f", {done.bytes_per_second / 2**20:.0f} MiB/s" if done.bytes_per_second else ""
    say(
        f"page cache: {done.read / GIB:.2f} GiB read in {done.seconds:.1f} s{rate}, {done.cached / GIB:.2f} GiB were "
        f"there, {done.skipped / GIB:.2f} GiB left alone for want of memory"
    )
    if summary is not None:
        document = {
            "readBytes": done.read,
            "cachedBytes": done.cached,
            "skippedBytes": done.skipped,
            "bytesPerSecond": done.bytes_per_second,
        }
        try:
            summary.write_text(json.dumps(document), "utf-8")
        except OSError as error:
            raise storage_error(error, summary) from error


@program.command("list")
def list_(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    output: Format = Output.TEXT,
) -> None:
    """Show the weights at and below a directory: source, revision, size, whether they are complete."""
    with _outcome():
        found = [each.document(directory) for each in kept_below(directory)]
        if output is not Output.TEXT:
            (write_json if output is Output.JSON else write_yaml)({"directory": str(directory), "items": found})
            return
        for each in found:
            state = "complete" if each["complete"] else "begun"
            what = each["source"] or each["layout"] or "?"
            say(f"{each['path']}: {what}, {each['sizeGiB']:.1f} GiB, {state}, changed {each['changed']}")


@program.command()
def remove(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
) -> None:
    """Remove the weights of a directory and what was made of them; nobody must be using them."""
    with _outcome():
        say(f"{directory}: {remove_weights(directory) / GIB:.2f} GiB removed")


@program.command()
def cast(
    *,
    source: InputDirectory,
    directory: OutputDirectory,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="cuda needs torch and triton.")] = "cpu",
    workers: Workers = _CORES,
    report_every: Every = 30.0,
    progress_address: Address = None,
    output: Format = Output.TEXT,
) -> None:
    """Turn block-scaled FP8 (or INT8) weights into a BF16 checkpoint, without a GPU and in bounded memory."""
    with _outcome() as progress, reporting(progress, every=report_every, address=progress_address):
        # Imported here: numpy and the compiler would triple the start of every other command.
        from deepseek_operator.weights.cast import cast as cast_checkpoint  # noqa: PLC0415

        marker = cast_checkpoint(source, directory, dequantize=_dequantizer(device), workers=workers, progress=progress)
        _tell_result(marker, directory, output, peakMemoryGiB=_peak_memory_gib())


@program.command()
def shard(
    *,
    source: InputDirectory,
    directory: OutputDirectory,
    model_parallel: Annotated[int, typer.Option(min=1, metavar="N", help="Ranks: 8, 16 or 32.")],
    experts: Annotated[int, typer.Option(min=1, metavar="N", help="Routed experts of the model.")] = 256,
    workers: Workers = _CORES,
    report_every: Every = 30.0,
    progress_address: Address = None,
    output: Format = Output.TEXT,
) -> None:
    """Cut a checkpoint for the DeepSeek-Infer demo, one file a rank, without the prediction layer."""
    with _outcome() as progress, reporting(progress, every=report_every, address=progress_address):
        from deepseek_operator.weights.shard import shard as shard_checkpoint  # noqa: PLC0415 - as in cast

        marker = shard_checkpoint(
            source, directory, model_parallel=model_parallel, experts=experts, workers=workers, progress=progress
        )
        _tell_result(marker, directory, output, peakMemoryGiB=_peak_memory_gib())


@contextmanager
def _outcome() -> Iterator[Progress]:
    """Turn failures into one line and an exit code, and SIGTERM into an orderly end that frees the lease."""

    def stop(*_: object) -> None:
        sys.exit(_STOPPED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield Progress()
    except WeightsError as error:
        tell(f"error: {error}")
        raise typer.Exit(_exit_code(error)) from None
    except ModuleNotFoundError as error:
        tell(f"error: the package {error.name} is not installed; pip install deepseek-operator[weights]")
        raise typer.Exit(Exit.INPUT_WRONG) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_code(error: WeightsError) -> Exit:
    match error:
        case InputError():
            return Exit.INPUT_WRONG
        case NoRoomError():
            return Exit.NOTHING_FITS
        case _:
            return Exit.UNEXPECTED


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text("utf-8").strip() or None
    except OSError as error:
        raise storage_error(error, file) from error


def _dequantizer(device: str) -> Any:
    if device == "cuda":
        from deepseek_operator.weights.triton_kernel import CudaDequantizer  # noqa: PLC0415 - only on demand

        return CudaDequantizer()
    from deepseek_operator.weights.dequantize import CpuDequantizer  # noqa: PLC0415 - as in cast

    return CpuDequantizer()


def _peak_memory_gib() -> float:
    return round(peak_memory() / GIB, 2)


def _tell_result(marker: Marker, directory: Path, output: Output, **more: object) -> None:
    size = sum(entry.size for entry in marker.files.values())
    match output:
        case Output.TEXT:
            extra = "".join(f", {key} {value}" for key, value in more.items() if isinstance(value, bool | int | float))
            say(f"{directory}: {len(marker.files)} files, {size / GIB:.2f} GiB{extra}")
        case Output.JSON | Output.YAML:
            document = {
                **marker.about,
                "directory": str(directory),
                "files": len(marker.files),
                "sizeGiB": round(size / GIB, 3),
                **more,
            }
            (write_json if output is Output.JSON else write_yaml)(document)
