"""Everything a run does, in order. Read this first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import lock
from .contracts import Parts, Result
from .markers import hookimpl
from .problems import RunError
from .settings import RunConfig
from .unused import report_unread

if TYPE_CHECKING:
    from .run import Run


class Execute:
    """The kernel's own provider of ``ftk_run``."""

    @hookimpl
    def ftk_run(self, run: Run) -> Result:
        return export(run) if run.plan.action == "export" else train(run)


def train(run: Run) -> Result:
    """Prepare data, then the model, then train, evaluate and export."""
    settings = run.config[RunConfig]
    tokenizer = run.load_tokenizer()
    template = run.load_template(tokenizer)
    encoder = run.encoder(tokenizer, template)
    # Data before the model: what can fail in seconds fails before a large model is loaded.
    train_dataset = run.load_dataset("train", encoder)
    eval_dataset = run.load_dataset("eval", encoder)
    if settings.do_eval and eval_dataset is None:
        raise RunError("do_eval is set, but there is nothing to evaluate on", "set eval_dataset, or val_size: 0.1")
    # Training arguments before the model: sharded initialisation reads them.
    args = run.training_args()
    model = run.adapt_model(run.load_model())
    trainer = run.build_trainer(
        Parts(
            model=model,
            tokenizer=tokenizer,
            template=template,
            encoder=encoder,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            args=args,
            callbacks=run.callbacks(),
        )
    )
    result = Result(output_dir=run.output_dir)
    if settings.trains:
        result.metrics |= trainer.train().metrics
    if settings.do_eval:
        result.metrics |= trainer.evaluate()
    report_unread(run)
    result.artifacts += run.export(trainer.model, tokenizer)
    return result


def export(run: Run) -> Result:
    """Load the trained model and hand it to the exporters."""
    tokenizer = run.load_tokenizer()
    model = run.adapt_model(run.load_model())
    return Result(output_dir=run.output_dir, artifacts=run.export(model, tokenizer))


def start(run: Run) -> Result:
    """Run the plan from its first file to its last, telling trackers how it ended."""
    if run.plan.action == "train":
        lock.claim(run.plan, run.output_dir, overwrite=run.config[RunConfig].overwrite_output_dir)
    try:
        result = run.start()
    except BaseException as error:
        run.failed(error)
        raise
    run.finished(result)
    return result
