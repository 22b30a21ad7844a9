"""Hooks of the declare and plan phases: implemented by a plugin's entry-point module. No torch, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..markers import hookspec

if TYPE_CHECKING:
    from ..aliases import Alias
    from ..component import Component
    from ..compose import Config
    from ..plan import Plan
    from ..problems import Problem


class Declare:
    """What a plugin offers. Called on every installed plugin, so they return data and import strings only."""

    @hookspec
    def ftk_components(self) -> list[Component]:
        """What this plugin offers.

        Called   once for every installed plugin, before any config is read
        Returns  components; their targets are not imported
        Default  none
        Example  ``return [Component(kind="addon", name="dora", target="ft_plugin_dora.dora:Dora", summary="...")]``
        """

    @hookspec
    def ftk_sections(self) -> list[str]:
        """Import strings of the config sections this plugin owns.

        Called   once for every installed plugin, before any config is read
        Returns  ``"package.module:Class"`` strings; each class is decorated with ``@section``
        Default  none
        Example  ``return ["ft_plugin_dora.config:DoraConfig"]``
        """

    @hookspec
    def ftk_aliases(self) -> list[Alias]:
        """Old spellings of keys and values.

        Called   once for every installed plugin, before any config is read
        Returns  aliases to keys of this plugin or of one it depends on
        Default  none
        Example  ``return [Alias(old="max_seq_length", new="cutoff_len", note="the old name of 'cutoff_len'")]``
        """

    @hookspec
    def ftk_hookspecs(self) -> list[str]:
        """Import strings of hookspec classes, for plugins that others extend.

        Called   once for every plugin with a component in the plan, or that such a one depends on, when a run is made
        Returns  ``"package.module:Class"`` strings; the methods are marked with ``@hookspec``
        Default  none
        Example  ``return ["ft_plugin_lora.specs:LoraSpecs"]``
        """


class PlanPhase:
    """What depends on values of the config. Pure functions of it, but for reading small local files."""

    @hookspec
    def ftk_select(self, config: Config) -> list[str]:
        """Components that values of this plugin's keys ask for, where a selector or a switch cannot say it.

        Called   once for every installed plugin, after the config is composed
        Returns  component ids, such as ``["source:local", "format:alpaca"]``
        Default  none
        Example  a ``model_name_or_path`` that starts with ``pypi:`` needs ``["hub:pypi"]``
        """

    @hookspec
    def ftk_check(self, plan: Plan) -> list[Problem]:
        """Rules that need values; what is mere data is a component's ``requires`` and ``conflicts``.

        Called   once for every plugin with a component in the plan
        Returns  problems; it never raises. ``Problem.key`` gives them their file and line
        Default  none
        Example  ``return [Problem("error", "lora_rank must be positive", key="lora_rank")]``
        """

    @hookspec
    def ftk_estimate(self, plan: Plan) -> dict[str, object]:
        """What the plan will cost, for ``ftk plan``.

        Called   once for every plugin with a component in the plan, by ``ftk plan``; unknown figures are left out
        Returns  name -> number or text, such as ``{"trainable parameters": 4884480}``; two plugins may not set one name
        Default  nothing
        Example  ``return {"adapter bytes (float32)": 4 * parameters}``
        """

    @hookspec
    def ftk_hand_on(self, plan: Plan) -> dict[str, object]:
        """The keys with which another run goes on from what this one leaves in its output folder.

        Called   once for every plugin with a component in the plan, between the steps of a pipeline
        Returns  key -> value; two plugins may not set one key
        Default  nothing: the next step begins where this one began
        Example  ``return {"model_name_or_path": plan.config[RunConfig].output_dir}``
        """
