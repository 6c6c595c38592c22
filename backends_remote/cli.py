"""Commands of ``serverless-tsne`` for the remote side; `tsne_backends.cli` finds them by name.

Each only reads its arguments and prints: what is done is in ``account``, ``jobs`` and ``journal``.
How a command ends on bad input is settled in `tsne_backends.cli.command`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from backends_remote.account import DataSet


@click.command()
def deploy() -> None:
    """Deploy the service into your Modal account, or bring it to this version."""
    from backends_remote.account import deploy as deploy_service
    from backends_remote.deployment import APP_NAME, FALL_BACK_GPUS, MAX_CONTAINERS
    from tsne_backends import __version__
    from tsne_backends.transfer import GPUS, IDLE_SECONDS, PRICES_OF
    from tsne_backends.wording import dollars

    page = deploy_service()
    prices = ", ".join(f"{gpu.name} {dollars(gpu.usd_per_hour)}" for gpu in GPUS.values())
    click.echo(f'Deployed "{APP_NAME}" {__version__}{f": {page}" if page else ""}.')
    click.echo(
        f"A container takes a {' or '.join(FALL_BACK_GPUS)} unless a call names another, waits "
        f"{IDLE_SECONDS:.0f} s for a next call, and at most {MAX_CONTAINERS} run at once."
    )
    click.echo(f"An hour costs, by Modal's list of {PRICES_OF}: {prices}. Nothing runs now.")
    click.echo('Fit with ServerlessTSNE(backend="modal"), or leave the choice to "auto".')


@click.command()
@click.option("--purge", is_flag=True, help="Remove the uploaded data first.")
def undeploy(purge: bool) -> None:
    """Remove the service from your Modal account; uploaded data stay unless purged."""
    from backends_remote import account

    if purge:
        _echo_data_sets(account.purge(), "Removed ")
    was_there = account.undeploy()
    click.echo("Removed the service." if was_there else "There was no service.")
    if not purge:
        click.echo(
            "Uploaded data, if any, stay in your account until you remove them with "
            "`serverless-tsne data --purge`: no container starts any more that would."
        )


@click.command()
@click.option("--wake", is_flag=True, help="Start a container to ask its version; costs cents.")
def doctor(wake: bool) -> None:
    """Look at everything between here and a map: account, service, version, connection."""
    from backends_remote.account import examine

    findings = []
    for finding in examine(wake=wake):
        findings.append(finding)
        mark = {True: "✔", False: "✘", None: "·"}[finding.ok]
        click.echo(f"{mark} {finding.sentence}")
    if findings[-1].ok is False:
        raise click.exceptions.Exit(1)


@click.command()
def jobs() -> None:
    """List the remote jobs of this machine, oldest first."""
    from backends_remote import journal

    known = journal.jobs()
    if not known:
        click.echo("No job was sent from here within a week.")
    for job in known:
        click.echo(
            f"{job.id}  {job.state:9}  {_ago(job.started_at)}  {job.gpu}  "
            f"{job.n_samples} × {job.n_components}"
        )


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; ID.npy.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
def attach(job_id: str, output: Path | None, force: bool) -> None:
    """Wait for a job and write its map."""
    from backends_remote.jobs import attach as wait_for
    from tsne_backends.files import check_output, write_embedding

    output = output or Path(f"{job_id}.npy")
    check_output(output, force=force)
    embedding = wait_for(job_id, lambda sentence: click.echo(sentence, err=True))
    write_embedding(output, embedding.coordinates)
    rows, columns = embedding.coordinates.shape
    click.echo(
        f"Wrote {output} ({rows} × {columns}): {embedding.n_iter} iterations, KL divergence "
        f"{embedding.kl_divergence:.3f} nats."
    )


@click.command()
@click.argument("job_id", metavar="ID")
def cancel(job_id: str) -> None:
    """End a job, and with it its cost."""
    from backends_remote.jobs import cancel as cancel_job

    cancel_job(job_id)
    click.echo(f"Cancelled {job_id}.")


@click.command()
@click.option("--list", "show", is_flag=True, help="List the data sets; the default.")
@click.option("--purge", is_flag=True, help="Remove them.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="With --purge: remove only those written longer ago.",
)
def data(show: bool, purge: bool, older_than: float | None) -> None:
    """List or remove the data that were uploaded to your Modal account."""
    from backends_remote import account

    if show and purge:
        raise ValueError("Give either --list or --purge, and not both.")
    if older_than is not None and not purge:
        raise ValueError(
            f"--older-than says what --purge removes, and was given ({older_than:g}) without it. "
            "Add --purge to remove those data sets, or leave --older-than out to list all."
        )
    if purge:
        _echo_data_sets(account.purge(older_than or 0.0), "Removed ")
    else:
        _echo_data_sets(account.data_sets(), "")


def with_loopback(work: Callable[[], Any]) -> Any:
    """Do some work with the whole remote path on this machine, a deployed service included.

    Parameters
    ----------
    work : callable
        Called without arguments.

    Returns
    -------
    object
        What ``work`` returns.
    """
    from backends_remote import account
    from backends_remote.loopback import Loopback
    from tsne_backends import store

    # What is learned of a stand-in must not be taken for the user's own account.
    with TemporaryDirectory() as name, store.elsewhere(Path(name)), Loopback():
        account.deploy()
        return work()


def _echo_data_sets(found: Sequence[DataSet], verb: str) -> None:
    from tsne_backends.wording import size

    for one in found:
        click.echo(f"{one.digest[:16]}  {size(one.n_bytes)}  {_ago(one.written_at)}")
    total = size(sum(one.n_bytes for one in found))
    click.echo(f"{verb}{len(found)} data set(s), {total}.")


def _ago(at: float) -> str:
    minutes = max(0.0, time.time() - at) / 60
    if minutes < 100:
        return f"{minutes:.0f} min ago"
    return f"{minutes / 60:.0f} h ago" if minutes < 6000 else f"{minutes / 1440:.0f} days ago"
