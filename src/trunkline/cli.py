"""The command line. The only room that prints; everything heavy is imported where it is used."""

from __future__ import annotations

import json
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trunkline.errors import TrunklineError, counted
from trunkline.terminal import interruptible, out, say, say_validation, say_warning

app = typer.Typer(
    name="trunkline",
    help="One network for many kinds of input and many tasks, trained on tables with holes in them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML config.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Other values, as in training.steps=500.")
]
NewFolder = Annotated[Path | None, typer.Option("--out", help="The run folder; it must be new or empty.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in the folder.")]


def _trust(is_given: bool) -> bool:
    """Own code mostly lies in the working directory, which an installed script does not search. It comes last: nothing
    that lies there stands in for a library."""
    if is_given and not sys.flags.safe_path and "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return is_given


TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Import classes of your own that the config names.", callback=_trust),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _say_version(is_asked: bool) -> None:
    if is_asked:
        print(f"trunkline {metadata.version('trunkline')}")
        raise typer.Exit


@app.callback()
def _of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What can be said before any command."""


def main() -> None:
    """Entry point: known errors and warnings are said in plain words, without a trace."""
    warnings.showwarning = say_warning
    try:
        app()
    except TrunklineError as error:
        Console(stderr=True).print(type(error).__name__, style="bold red")
        print(error, file=sys.stderr)
        sys.exit(1)


@app.command()
def fit(
    config: ConfigPath,
    overrides: Overrides = None,
    folder: NewFolder = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
) -> None:
    """Train one network for all tasks and write a run folder."""
    from trunkline.run import fit, noticed
    from trunkline.tables import all_right_line, scores_table

    with interruptible(folder, resume):
        run = fit(
            config, overrides=overrides or [], out=folder, resume=resume, trust_code=trust_code,
            on_validation=None if sys.stderr.isatty() else say_validation,
        )  # fmt: skip
    judged = "test" if run.metrics["test"] else "validation"
    out.print(scores_table(f"{judged} rows", run.metrics[judged] or {}, run.metrics["majority"] or {}))
    if whole := run.metrics.get("all_right"):
        say(all_right_line(whole))
    if checks := noticed(run.folder):
        say(f"To look at (in the report): {'; '.join(checks)}")
    out.print(
        f"{run.metrics['steps']} steps in {run.metrics['training_seconds']:.0f} s, "
        f"best at step {run.metrics['best_step']}. Run folder: {run.folder}\nReport: {run.folder / 'report.html'}",
        highlight=False,
    )


@app.command()
def init(
    table: Annotated[Path, typer.Argument(help="A table, or a folder of pictures or sounds.")],
    target: Annotated[list[str] | None, typer.Option("--target", help="A column to learn; may be repeated.")] = None,
    to: Annotated[Path, typer.Option("--out", help="The config to write; it must not be there.")] = Path("config.yaml"),
) -> None:
    """Look at a table and write a config that can be trained as it is."""
    from trunkline.run import init
    from trunkline.tables import look_table

    begun = init(table, targets=target or [], out=to)
    look = begun.look
    out.print(look_table(str(table), look))
    if begun.faults:
        bad = counted(len({fault.row for fault in begun.faults}), "row")
        out.print(f"{bad} cannot be used and will be left out.", highlight=False)
    if not target and look.tasks:
        out.print(f"Guessed: what to learn is {', '.join(look.tasks)}. --target names other columns.", highlight=False)
    out.print(f"Config: {begun.path}. Next: trunkline check {begun.path}", highlight=False)


@app.command()
def check(
    config: ConfigPath,
    overrides: Overrides = None,
    page: Annotated[
        Path | None, typer.Option("--preview", help="An HTML page to write: some rows as training sees them.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Validate a config and its data; show the model, one batch, and how long training will take."""
    from trunkline.report.words import seconds
    from trunkline.run import check, preview
    from trunkline.tables import batch_lines, choices_table, columns_table

    report = check(config, overrides=overrides or [], trust_code=trust_code)
    settings = report.plan.config.training
    out.print(columns_table("inputs", report.plan.config.inputs, "present", report.presence))
    out.print(columns_table("tasks", report.plan.config.tasks, "labelled", report.labels))
    out.print("rows: " + ", ".join(f"{count} {name}" for name, count in report.rows.items()))
    out.print(f"parameters: {report.shared:,} shared, {report.private:,} private")
    out.print("one batch:")
    for line in batch_lines(report.batch, report.plan.network.preprocessing):
        out.print(f"  {line}", highlight=False)
    out.print(choices_table(report.plan.config, report.plan.reasons))
    of_steps, of_looks = map(seconds, report.seconds)
    steps = f"{settings.steps} steps of {report.pace.step * 1e3:.0f} ms here: {of_steps}"
    out.print(f"{steps}; {settings.validations} validations: {of_looks}", highlight=False)
    if page is not None:
        say(f"Preview: {preview(report.plan, page, title=config.stem)}")


@app.command()
def compare(
    config: ConfigPath,
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(help="Runs of each model.")] = 3,
    balancers: Annotated[str | None, typer.Option(help="Others to compare, separated by commas.")] = None,
    trunks: Annotated[str | None, typer.Option(help="Other trunks to compare, separated by commas.")] = None,
    tune: Annotated[int, typer.Option(help="Runs to search fixed weights of the tasks by.")] = 0,
    same_labels: Annotated[bool, typer.Option("--same-labels", help="Alone as many a step as together.")] = False,
    folder: Annotated[Path | None, typer.Option("--out", help="Of all runs; one begun before is gone on with.")] = None,
    trust_code: TrustCode = False,
) -> None:
    """One network for all tasks against one for each: same data, same steps, several seeds."""
    from trunkline.run import compare
    from trunkline.tables import comparison_lines, comparison_table

    others = {"balancers": balancers.split(",") if balancers else [], "trunks": trunks.split(",") if trunks else []}
    try:
        found = compare(
            config, seeds=seeds, tune=tune, same_labels=same_labels, overrides=overrides or [], out=folder,
            trust_code=trust_code, say=say, **others,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("Interrupted. To go on: the same again.", file=sys.stderr)
        raise typer.Exit(130) from None
    for name in found.result["models"]:
        out.print(comparison_table(name, found.result))
    for line in comparison_lines(found.result):
        say(line)
    say(f"Folder: {found.folder}")


@app.command()
def affinity(
    config: ConfigPath,
    overrides: Overrides = None,
    folder: NewFolder = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
) -> None:
    """Which task helps which, measured in one run, and which of them should share a network."""
    from trunkline.run import affinity
    from trunkline.tables import affinity_table, groupings_table

    with interruptible(folder, resume):
        found = affinity(config, overrides=overrides or [], out=folder, resume=resume, trust_code=trust_code)
    out.print(affinity_table(found.found))
    if any(one["is_clear"] for row in found.found["affinity"] for one in row):
        out.print(groupings_table(found.found))
    else:
        say(
            "Nothing can be told from 0, so there is nothing to group by: more steps, or more looks (training.affinity)"
        )
    say(f"Run folder: {found.run.folder}\nReport: {found.run.folder / 'report.html'}")


@app.command()
def evaluate(
    folder: RunFolder,
    table: Annotated[Path | None, typer.Argument(help="By default the run's own test rows.")] = None,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
) -> None:
    """Metrics of every task on the test rows or another table."""
    from trunkline.run import evaluate
    from trunkline.tables import all_right_line, scores_table

    found = evaluate(folder, table, trust_code=trust_code)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        title = f"{found['judged']} rows" if table is None else str(table)
        out.print(scores_table(title, found["scores"], found["majority"]))
        if whole := found.get("all_right"):
            say(all_right_line(whole))


@app.command()
def predict(
    folder: RunFolder,
    table: Annotated[Path, typer.Argument(help="Rows with any inputs missing; it needs no label columns.")],
    to: Annotated[
        Path | None,
        typer.Option("--out", help="A .jsonl, .csv, .tsv or .parquet file to write; without it they are shown."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Predictions for the rows of a table."""
    from trunkline.run import predict
    from trunkline.tables import answers_shown

    rows = predict(folder, table, to, trust_code=trust_code)
    for shown in answers_shown(rows) if to is None else [f"{len(rows)} rows written to {to}"]:
        out.print(shown, highlight=False)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="By default report.html in the run folder, or here for several runs.")
    ] = None,
) -> None:
    """Make one self-contained HTML page about a run, or about several side by side."""
    from trunkline.run import report

    out.print(f"{report(folders, to)}", highlight=False)


@app.command()
def export(
    folder: RunFolder,
    to: Annotated[Path | None, typer.Option("--out", help="By default model.onnx in the run folder.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Rows to check with; by default the run's own.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    precision: Annotated[str | None, typer.Option(help="int8, bf16: smaller weights, too, and their cost.")] = None,
    trust_code: TrustCode = False,
) -> None:
    """Write the whole network in ONNX, and compare it with the original."""
    from trunkline.export import tell, tell_smaller
    from trunkline.run import export

    chosen = tasks.split(",") if tasks else None
    written, smaller = export(folder, to, rows=rows, tasks=chosen, precision=precision, trust_code=trust_code)
    for line in (*tell(written), *(() if smaller is None else tell_smaller(smaller))):
        out.print(line, highlight=False)


@app.command()
def serve(
    folder: RunFolder,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8000,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name it is called by, as a server in front passes on.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Answer over HTTP with a trained run, and show a page to try it."""
    from trunkline.run import serve

    serve(folder, host=host, port=port, hosts=allow_host or (), trust_code=trust_code, say=say)


@app.command(name="list")
def list_(
    name: Annotated[
        str | None, typer.Argument(help="A section (inputs, tasks, training, …) or a type (image, tasks.number, mmoe).")
    ] = None,
) -> None:
    """What there is to choose from; of one type, or of `data` and `training`, all options."""
    from trunkline.listing import options_of, sections
    from trunkline.tables import options_table, types_table

    found = list(sections(name))
    for section, types in found:
        out.print(types_table(section, types))
    if name is None:
        say("Options of one: trunkline list image, trunkline list tasks.number, trunkline list training")
    elif not found:
        for title, about, options in options_of(name):
            out.print(options_table(title, about, options))
        say("null: chosen from the data, or nothing. What all inputs, tasks or balancers take: docs/config.md")


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="digits or emoji.")] = "digits",
    keep: Annotated[Path | None, typer.Option("--keep", help="Leave the demo's table here, with its config.")] = None,
    folder: NewFolder = None,
    only_data: Annotated[bool, typer.Option("--only-data", help="Make the table and its config, and stop.")] = False,
) -> None:
    """A multi-task, multi-modal run on data made offline, beside single-task twins."""
    from trunkline.demos import CATALOG
    from trunkline.demos.play import find, play
    from trunkline.tables import demo_table

    if only_data:
        if folder is not None:
            raise typer.BadParameter("--only-data trains nothing, so there is no run for --out")
        say(f"Config: {find(CATALOG, name).cached(keep=keep)}")
        return
    told = None if sys.stderr.isatty() else say_validation
    shown = play(find(CATALOG, name), keep=keep, folder=folder, say=say, on_validation=told)
    out.print(demo_table(shown))
    say(shown.closing)
