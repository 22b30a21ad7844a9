"""DoRA (arXiv:2402.09353, equation 5), as peft implements it."""

from ftk.markers import hookimpl


class Dora:
    @hookimpl
    def ftk_lora_kwargs(self, run) -> dict[str, object]:
        return {"use_dora": True}
