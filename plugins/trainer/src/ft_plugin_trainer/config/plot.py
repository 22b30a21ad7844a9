"""The key of the loss curve."""

from ftk.section import section


@section("plot-loss", enabled_by="plot_loss")
class PlotConfig:
    plot_loss: bool = False
    """Draw the loss curve as ``training_loss.png`` in the output folder."""
