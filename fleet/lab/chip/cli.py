"""`fleet chip presets|show|report|restore|fits`: the chip model, without a fleet."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fleet.cli.exits import ExitCode
from fleet.cli.output import Format, OutputFormat, hint, json_text, note, show, spinner, write_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

app = typer.Typer(
    add_completion=False, help="The chip model: technologies, costs, and the paper's ratios.", no_args_is_help=True
)

_DEFAULT_PRESET = "180nm-1t1r"

PresetOption = Annotated[
    str, typer.Option("--preset", metavar="NAME|FILE", help="Technology: `fleet chip presets`, or a .toml file.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the draws.")]


OutputOption = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", file_okay=False, help="Write JSON and plots (SVG) there.")
]


@app.command()
def presets(form: Format = OutputFormat.TABLE) -> None:
    """List the technologies that come with the chip model."""
    from fleet.lab.chip.presets import preset_list_document
    from fleet.lab.chip.view import preset_list_tables

    body = preset_list_document()
    show(form, body, lambda: preset_list_tables(body))
    if form is OutputFormat.TABLE:
        hint(f"fleet chip show {_DEFAULT_PRESET}")


@app.command("show")
def show_preset(
    preset: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A preset, or a .toml file.")],
    toml: Annotated[bool, typer.Option("--toml", help="Print the file itself, to start one's own.")] = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Show every number of a technology with its range and source; checks a file of your own."""
    from fleet.lab.chip.inputs import given_preset, preset_toml
    from fleet.lab.chip.presets import preset_document
    from fleet.lab.chip.view import preset_tables

    if toml:
        sys.stdout.write(preset_toml(preset))
        return
    body = preset_document(given_preset(preset))
    show(form, body, lambda: preset_tables(body))


@app.command()
def report(
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="NAME|FILE",
            help="face-mixer, speaker-lsm, image-dit, all, or a .toml file; may be repeated.",
            show_default="all",
        ),
    ] = None,
    preset: PresetOption = _DEFAULT_PRESET,
    draws: Annotated[int, typer.Option(min=1, help="Monte-Carlo draws over the ranges.")] = 4000,
    seed: SeedOption = 0,
    output: OutputOption = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Cost of networks in three designs, and what is consistent with the paper's three ratios."""
    with spinner() as progress:
        from fleet.lab.chip.inputs import given_networks, given_preset
        from fleet.lab.chip.report import chip_report, report_document

        # Both before any work: a slip in the second name should not cost the time of the first.
        technology, networks = given_preset(preset), given_networks(network or ["all"])
        computed = chip_report(networks, technology, draws=draws, seed=seed, progress=progress)
        body = report_document(computed)
        if output is not None:
            from fleet.lab.chip.report_plots import report_figures

            progress("Plots")
            write_output(output, "chip-report", body, report_figures(computed))
    from fleet.lab.chip.view import report_tables

    show(form, body, lambda: report_tables(body))


@app.command()
def restore(
    network: Annotated[
        str, typer.Option("--network", metavar="NAME", help="face-mixer or speaker-lsm.")
    ] = "face-mixer",
    preset: PresetOption = _DEFAULT_PRESET,
    noise: Annotated[
        str, typer.Option("--noise", metavar="US,...", help="Constant programming errors, uS.")
    ] = "1,2,5,10",
    age: Annotated[
        str | None,
        typer.Option(
            "--age",
            metavar="AGE,...",
            help="Ages since programming, such as 1s,6h,2d: for a preset whose cells relax.",
            show_default="1s,1d,2d if the cells relax",
        ),
    ] = None,
    stuck: Annotated[
        str, typer.Option("--stuck", metavar="SHARE,...", help="Shares of stuck cells, 0 to 1.")
    ] = "0,0.01,0.05",
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the LoRA.", show_default="the paper's: 6 or 8")
    ] = None,
    layers: Annotated[
        Literal["all", "paper"], typer.Option(help="Correct all layers, or those with a LoRA in the paper.")
    ] = "all",
    storage: Annotated[Literal["int8", "fp16", "fp32"], typer.Option(help="Number format of the LoRA.")] = "int8",
    chips: Annotated[int, typer.Option(min=1, help="Chips per condition.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the network and the chips.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with olivetti_py3.pkz, for face-mixer.",
            show_default="scikit-learn's cache, else its digits",
        ),
    ] = None,
    output: OutputOption = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Bring noisy, aged and partly stuck chips back by a LoRA fitted on public data."""
    with spinner() as progress:
        from fleet.lab.chip.calibration.experiment import run_restore
        from fleet.lab.chip.calibration.report import restore_document, restore_tables
        from fleet.lab.chip.calibration.settings import RestoreSettings, given_numbers, given_words
        from fleet.lab.chip.inputs import given_preset
        from hwmodel import Precision

        settings = RestoreSettings(
            network,
            given_preset(preset),
            noise_us=given_numbers("noise", noise),
            ages=None if age is None else given_words(age),
            stuck_shares=given_numbers("stuck", stuck),
            rank=rank,
            corrected=layers,
            storage=Precision(storage),
            chips=chips,
            seed=seed,
            data=data,
        )
        body = restore_document(run_restore(settings, progress))
        if output is not None:
            from fleet.lab.chip.calibration.plots import restore_figures

            progress("Plots")
            write_output(output, "chip-restore", body, restore_figures(body))
    show(form, body, lambda: restore_tables(body))


@app.command()
def fits(
    cells: Annotated[int, typer.Option(min=100, help="Simulated cells per point.")] = 4000,
    seed: SeedOption = 0,
    output: OutputOption = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Hold simulated cells and pulses against published fits and closed forms. Exit code 1 if they miss."""
    with spinner() as progress:
        from fleet.lab.chip.fits import chip_fits, fits_document

        computed = chip_fits(cells=cells, seed=seed, progress=progress)
        body = fits_document(computed)
        if output is not None:
            from fleet.lab.chip.fits_plots import fits_figures

            progress("Plots")
            write_output(output, "chip-fits", body, fits_figures(computed))
    from fleet.lab.chip.view import fits_tables

    show(form, body, lambda: fits_tables(body))
    if not computed.hold:
        note(
            "Simulated cells lie outside max(0.35 uS, 15 %) of the published fit, or pulses off the closed "
            "form: see the lines that fail."
        )
        raise typer.Exit(ExitCode.FAILED)


def write_output(folder: Path, name: str, document: Mapping[str, Any], figures: Mapping[str, Figure]) -> None:
    """Write ``<name>.json`` and the figures into a folder, and say so."""
    from fleet.report.style import save_figures

    files = save_figures(figures, folder)
    write_files(folder, {f"{name}.json": json_text(document)}, beside=files)
